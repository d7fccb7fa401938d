"""Which images are held out to be measured on, and what may be said of the accuracy on them."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

FEWEST: Final = 20
"""Held-out images from which on a site's accuracy is told: with fewer, the interval of .9 is wider than .3."""

_LARGEST: Final = 1 / 3
"""Share of a class that a group may take with it when it is held out; set, not measured."""

_NORMAL_95: Final = 1.959964  # quantile of a two-sided 95 % interval


def split(
    labels: npt.NDArray[np.int64],
    share: float,
    rng: int,
    *,
    groups: npt.NDArray[np.int64] | None = None,
    never: npt.NDArray[np.bool_] | None = None,
    least: int = 0,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Indices to train on and held out: a share of each class, in a random order, and groups as a whole.

    A class gives as many images away as the share says, and more only to keep a group together, up to a third of it.

    Args:
        labels: shape (N,).
        share: of each class, rounded down.
        rng: where the draw starts.
        groups: shape (N,); images of one number (a patient, a slide) are on one side. None: each image is its own.
        never: bool of shape (N,): images that are never held out, and with them their groups.
        least: images that a class of two or more gives away at least.

    Returns:
        Two sorted arrays that have each index once.
    """
    sizes = np.bincount(labels)
    goal = np.maximum((sizes * share + 1e-9).astype(int), np.minimum(least, np.maximum(sizes - 1, 0)))
    most = np.maximum(goal, (sizes * _LARGEST).astype(int)) * (goal > 0)
    given = np.zeros_like(goal)
    held: list[int] = []
    members_of = _members(np.arange(len(labels)) if groups is None else groups)
    for group in np.random.default_rng(rng).permutation(len(members_of)):
        members = members_of[group]
        counts = np.bincount(labels[members], minlength=len(sizes))
        wanted = ((given < goal) | (counts == 0)).all() and (given + counts <= most).all()
        if wanted and not (never is not None and never[members].any()):
            given += counts
            held += members.tolist()
    return np.setdiff1d(np.arange(len(labels)), held), np.array(sorted(held), dtype=np.int64)


def _members(groups: npt.NDArray[np.int64]) -> list[npt.NDArray[np.intp]]:
    """The indices of each group's images."""
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)


@dataclass(frozen=True, slots=True)
class HeldOutAccuracy:
    """How many of the held-out images a model names rightly.

    Attributes:
        right: of them.
        images: that were held out.
    """

    right: int
    images: int

    @property
    def share(self) -> float:
        """Between 0 and 1; NaN without images."""
        return self.right / self.images if self.images else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share (Wilson 1927); from 0 to 1 without images."""
        if not self.images:
            return 0.0, 1.0
        n, z = self.images, _NORMAL_95
        middle = (self.share + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(self.share * (1 - self.share) / n + z * z / (4 * n * n))
        return max(0.0, middle - half), min(1.0, middle + half)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.share:.1%} ({low:.1%} to {high:.1%})"
