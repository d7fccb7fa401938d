"""Stage D: the simplest answer that is not clearly worse than the best one.

Every mixture has been scored on the same left-out images, so differences are paired. A more complex mixture must beat
the simpler ones by more than one standard error of the difference; otherwise nothing is risked: seed, then the single
learngene, then combinations.
"""

from collections.abc import Sequence

import numpy as np

from genepool_protocol.selection.scoring import Score


def gain(challenger: Score, holder: Score) -> tuple[float, float]:
    """Mean reduction of the left-out squared error against the holder, and its standard error over the images."""
    difference = np.asarray(holder.errors) - np.asarray(challenger.errors)
    deviation = float(difference.std(ddof=1)) if len(difference) > 1 else 0.0
    return float(difference.mean()), deviation / max(len(difference), 1) ** 0.5


def choose(scores: Sequence[Score]) -> tuple[int, str]:
    """The index of the chosen mixture (they come simplest first), and why, in one sentence."""
    chosen, why = 0, "nothing beat the seed by more than one standard error on left-out images"
    for index in range(1, len(scores)):
        mean, error = gain(scores[index], scores[chosen])
        if round(mean - error, 6) > 0:
            chosen = index
            why = f"it lowers the left-out error by {mean:.3f} (standard error {error:.3f}) against the simpler choice"
    return chosen, why
