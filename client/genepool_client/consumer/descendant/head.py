"""The closed-form head of a descendant, fitted where the labels are."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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
    """The head that TALS scores with, fitted on these features.

    Args:
        features: shape (N, width), of at least one image per class.
        labels: classes 0..C-1, shape (N,).
    """
    import torch

    from genepool_protocol.selection import discriminant

    x = torch.from_numpy(np.asarray(features, dtype=np.float64))
    fitted = discriminant.fit(x, torch.from_numpy(np.asarray(labels, dtype=np.int64)))
    return Head(fitted.weight.numpy().astype(np.float32), fitted.bias.numpy().astype(np.float32))
