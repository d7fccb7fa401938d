"""Stage B: how well features separate a small support set, without training anything.

Leave-one-out k-nearest neighbours, leave-one-out linear discriminant analysis with shrinkage, and LogME. No single
score wins everywhere, so the ranks are averaged (see `ranks`). Ties and rounding are the same on every machine: scores
are rounded before they are compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

_NEIGHBOURS = 3
_MAX_FOLDS = 32  # leave-one-out up to so many images, then folds
_PLACES = 6
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Score:
    """What one mixture's features are worth on the support set.

    Attributes:
        knn: leave-one-out accuracy of cosine nearest neighbours.
        lda: accuracy of shrinkage LDA on left-out images.
        logme: log maximum evidence (You et al. 2021), per image and class.
        errors: squared error of the ridge head on each image when it is left out, shape (N,); the guard compares these.
            Empty when nothing can be left out (see `can_leave_out`): then knn and lda are 0 and say nothing.
    """

    knn: float
    lda: float
    logme: float
    errors: tuple[float, ...]


def score(features: npt.NDArray[np.float32], labels: Labels) -> Score:
    """Score features of shape (N, width) against labels 0..C-1 of shape (N,).

    Features that are not finite say nothing: they score as if all images looked alike.
    """
    x = np.asarray(features, dtype=np.float64)
    x = x - x.mean(axis=0) if np.isfinite(x).all() else np.zeros_like(x)
    x /= np.sqrt((x**2).mean()) + _TINY
    evidence = round(logme(x, labels), _PLACES)
    if not can_leave_out(labels):
        return Score(0.0, 0.0, evidence, ())
    errors = tuple(np.round(ridge_errors(x, labels), _PLACES).tolist())
    return Score(round(knn(x, labels), _PLACES), round(lda(x, labels), _PLACES), evidence, errors)


def can_leave_out(labels: Labels) -> bool:
    """Whether leaving images out says anything: a class of a single image is gone when that is left out."""
    return len(labels) >= 2 * len(np.unique(labels))


def knn(x: Array, labels: Labels) -> float:
    """Leave-one-out accuracy of the cosine-weighted vote of the nearest neighbours."""
    unit = x / (np.linalg.norm(x, axis=1, keepdims=True) + _TINY)
    similarity = np.round(unit @ unit.T, _PLACES)
    np.fill_diagonal(similarity, -np.inf)
    k = min(_NEIGHBOURS, len(x) - 1)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    votes = np.zeros((len(x), labels.max() + 1))
    rows = np.arange(len(x))
    for column in range(k):
        index = nearest[:, column]
        np.add.at(votes, (rows, labels[index]), 1.0 + similarity[rows, index])
    return float(np.mean(votes.argmax(axis=1) == labels))


def folds(labels: Labels) -> list[npt.NDArray[np.int64]]:
    """Which images are left out together: one by one for small sets, else folds that deal every class out evenly."""
    count = min(len(labels), _MAX_FOLDS)
    order = np.argsort(labels, kind="stable")
    return [np.sort(order[start::count]) for start in range(count)]


def lda(x: Array, labels: Labels) -> float:
    """Accuracy on left-out images of linear discriminant analysis with oracle-approximating shrinkage (Chen 2010)."""
    right = 0
    for out in folds(labels):
        keep = np.setdiff1d(np.arange(len(x)), out)
        classes = np.unique(labels[keep])
        means = np.stack([x[keep][labels[keep] == c].mean(axis=0) for c in classes])
        residual = x[keep] - means[np.searchsorted(classes, labels[keep])]
        weights = np.linalg.solve(_shrunk(residual), means.T)  # (width, classes)
        logits = x[out] @ weights - 0.5 * np.sum(means.T * weights, axis=0)
        right += int((classes[np.round(logits, _PLACES).argmax(axis=1)] == labels[out]).sum())
    return right / len(x)


def _shrunk(residual: Array) -> Array:
    n, width = residual.shape
    covariance = residual.T @ residual / n
    mu = np.trace(covariance) / width
    alpha = np.mean(covariance**2)
    denominator = (n + 1.0) * (alpha - mu**2 / width)
    shrinkage = 1.0 if denominator <= 0 else min(1.0, (alpha + mu**2) / denominator)
    shrunk: Array = (1.0 - shrinkage) * covariance
    shrunk.flat[:: width + 1] += shrinkage * mu + 1e-9
    return shrunk


def logme(x: Array, labels: Labels) -> float:
    """Log maximum evidence of a Bayesian linear model, averaged over classes and images (You et al. 2021)."""
    n, width = x.shape
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    sigma = s**2
    total = 0.0
    classes = int(labels.max()) + 1
    for c in range(classes):
        y = (labels == c).astype(np.float64)
        z2 = (u.T @ y) ** 2
        rest = max(float(y @ y - z2.sum()), 0.0)
        alpha, beta = 1.0, 1.0
        for _ in range(11):
            gamma = float((sigma * beta / (alpha + sigma * beta)).sum())
            m2 = float((sigma * beta**2 * z2 / (alpha + beta * sigma) ** 2).sum())
            res2 = float((z2 / (1 + sigma * beta / alpha) ** 2).sum()) + rest
            alpha, beta = max(gamma / (m2 + 1e-9), _TINY), (n - gamma) / (res2 + 1e-9)
        evidence = width / 2 * np.log(alpha) + n / 2 * np.log(beta) - n / 2 * np.log(2 * np.pi)
        evidence -= 0.5 * (np.log(alpha + beta * sigma).sum() + (width - len(sigma)) * np.log(alpha))
        total += float(evidence - beta / 2 * res2 - alpha / 2 * m2) / n
    return total / classes


def ridge_penalty(x: Array, labels: Labels) -> tuple[float, Array]:
    """The ridge penalty with the smallest leave-one-out error, and that error per image, in closed form."""
    y = np.eye(labels.max() + 1)[labels]
    y = y - y.mean(axis=0)
    values, vectors = np.linalg.eigh(x @ x.T)
    best: tuple[float, Array] | None = None
    for penalty in (np.mean(np.maximum(values, 0)) + _TINY) * np.logspace(-3, 2, 11):
        shrink = np.maximum(values, 0) / (np.maximum(values, 0) + penalty)
        hat = (vectors * shrink) @ vectors.T
        left_out = (y - hat @ y) / np.maximum(1.0 - np.diag(hat), 1e-6)[:, None]
        errors = np.sum(left_out**2, axis=1)
        if best is None or errors.mean() < best[1].mean() - 1e-9:
            best = (float(penalty), errors)
    assert best is not None  # noqa: S101 - the loop ran
    return best


def ridge_errors(x: Array, labels: Labels) -> Array:
    """Squared error of the ridge head on each image when it is left out."""
    return ridge_penalty(x, labels)[1]


def rank(scores: Sequence[Score], distances: Sequence[float]) -> list[float]:
    """The place of every candidate: the mean of its ranks in each score and, weighing as much as those, in the key.

    Args:
        scores: of every candidate.
        distances: of their keys from the task's.
    """
    nearness = [-distance for distance in distances]
    columns = [[s.knn for s in scores], [s.lda for s in scores], [s.logme for s in scores]]
    if scores and not scores[0].errors:
        columns = []
    return ranks([*columns, *[nearness] * max(1, len(columns))])


def ranks(columns: Sequence[Sequence[float]]) -> list[float]:
    """Mean rank of every candidate over the columns (higher is better in each; 1 is best; ties share their mean)."""
    total = np.zeros(len(columns[0]))
    for column in columns:
        values = np.round(np.asarray(column, dtype=np.float64), _PLACES)
        better = (values[None, :] > values[:, None]).sum(axis=1)
        equal = (values[None, :] == values[:, None]).sum(axis=1)
        total += better + (equal + 1) / 2
    return [float(value) for value in np.round(total / len(columns), _PLACES)]
