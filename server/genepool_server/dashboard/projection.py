"""Domain embeddings in two dimensions: their two principal components. Values to values."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Plane:
    """Points on the plane in which they differ most.

    Attributes:
        places: float64 (N, 2), centred.
        shares: of all variance, what each of the two axes shows; between 0 and 1.
    """

    places: npt.NDArray[np.float64]
    shares: tuple[float, float]


def plane(points: npt.NDArray[np.float32]) -> Plane:
    """Principal component analysis.

    Args:
        points: float32 (N, W), N >= 1.

    The sign of an axis means nothing: it is chosen so that the axis's largest coefficient is positive, and the same
    points always give the same picture.
    """
    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    _, lengths, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2][np.arange(len(axes[:2])), np.abs(axes[:2]).argmax(axis=1)])[:, None]
    places = np.zeros((len(points), 2))
    places[:, : len(axes)] = centred @ axes.T
    total = float((lengths**2).sum()) or 1.0
    shares = [*(float(length) ** 2 / total for length in lengths[:2]), 0.0, 0.0]
    return Plane(places, (shares[0], shares[1]))
