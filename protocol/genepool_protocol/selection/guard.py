"""Stage D: whoever holds the answer keeps it unless a challenger is clearly better on left-out images.

All are scored on the same left-out images, so differences are paired. The key decides who holds: the nearest learngenes
where the task is like one that the pool has seen, else the seed. Keys find the right site in tasks of five images
where left-out errors are noise, so a challenger must lower the error by two standard errors of the difference.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from genepool_protocol.selection.score import Score

CLEARLY: Final = 2.0
"""Standard errors by which a challenger must be better."""

_PLACES: Final = 6


def gain(challenger: Score, holder: Score) -> tuple[float, float]:
    """Mean reduction of the left-out squared error against the holder, and its standard error over the images."""
    difference = np.asarray(holder.errors) - np.asarray(challenger.errors)
    deviation = float(difference.std(ddof=1)) if len(difference) > 1 else 0.0
    return float(difference.mean()), deviation / max(len(difference), 1) ** 0.5


def choose(holder: Score, challengers: Sequence[Score]) -> tuple[int, str]:
    """Which to take, 0 being the holder and 1 and up the challengers, simplest first; and what decided.

    A challenger that takes over is the holder for those after it.
    """
    scores = [holder, *challengers]
    chosen, why = 0, "nothing is clearly better on left-out images"
    for index in range(1, len(scores)):
        mean, error = gain(scores[index], scores[chosen])
        if round(mean - CLEARLY * error, _PLACES) > 0:
            chosen = index
            why = f"it lowers the left-out error by {mean:.3f} (standard error {error:.3f}) against what the keys say"
    return chosen, why
