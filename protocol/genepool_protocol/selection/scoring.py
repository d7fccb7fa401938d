"""Stage B: how well features separate a small support set, without training anything.

Three scores: k-nearest neighbours and the regularised discriminant, both leave-one-out, and LogME. The discriminant's
errors decide, because it is the head that a descendant starts from; the others are reasons for a person. Ties and
rounding are the same on every machine: scores are rounded before they are compared.
"""

import numpy as np
import numpy.typing as npt
import torch

from genepool_protocol.selection import discriminant
from genepool_protocol.selection.score import Score
from genepool_protocol.selection.support import Labels, can_leave_out

Array = npt.NDArray[np.float64]

_NEIGHBOURS = 3
_PLACES = 6
_TINY = 1e-12


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
    named = torch.from_numpy(labels)
    logits = discriminant.leave_one_out(torch.from_numpy(x), named).round(decimals=_PLACES)
    right = float((logits.argmax(dim=1) == named).double().mean())
    scale = discriminant.sharpness(logits, named)
    errors = tuple(np.round(discriminant.errors(logits, named, scale).numpy(), _PLACES).tolist())
    return Score(round(knn(x, labels), _PLACES), round(right, _PLACES), evidence, errors)


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
