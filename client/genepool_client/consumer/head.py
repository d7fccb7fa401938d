"""The closed-form head of a descendant, fitted where the labels are."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from genepool_protocol.selection import scoring

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Head:
    """A linear head: logits are `features @ weight.T + bias`.

    Attributes:
        weight: float32, shape (classes, width).
        bias: float32, shape (classes,).
    """

    weight: Array
    bias: Array


def fit_head(features: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> Head:
    """The ridge regression of one-hot labels on features, with the penalty that leaves the smallest error left out.

    Args:
        features: shape (N, width), of at least one image per class.
        labels: classes 0..C-1, shape (N,).
    """
    x = np.asarray(features, dtype=np.float64)
    mean = x.mean(axis=0)
    centred = x - mean
    scale = np.sqrt((centred**2).mean()) + 1e-12
    centred = centred / scale
    y = np.eye(int(labels.max()) + 1)[labels]
    share = y.mean(axis=0)
    penalty, _ = scoring.ridge_penalty(centred, labels)
    dual = np.linalg.solve(centred @ centred.T + penalty * np.eye(len(x)), y - share)  # (N, classes)
    weight = (centred.T @ dual).T / scale
    return Head(weight.astype(np.float32), (share - weight @ mean).astype(np.float32))
