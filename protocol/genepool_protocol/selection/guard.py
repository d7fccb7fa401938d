"""Stage D: the simplest answer that is not clearly worse than the best one.

Every mixture has been scored on the same left-out images, so differences are paired. The seed is the holder unless the
best learngene's key is near: then the key has spoken for the learngene, and the seed must beat it. Whoever challenges
the holder must lower the left-out error by more than one standard error of the difference; so must combinations.
"""

from collections.abc import Sequence

import numpy as np

from genepool_protocol.selection.scoring import Score

_PLACES = 6


def gain(challenger: Score, holder: Score) -> tuple[float, float]:
    """Mean reduction of the left-out squared error against the holder, and its standard error over the images."""
    difference = np.asarray(holder.errors) - np.asarray(challenger.errors)
    deviation = float(difference.std(ddof=1)) if len(difference) > 1 else 0.0
    return float(difference.mean()), deviation / max(len(difference), 1) ** 0.5


def choose(seed: Score, single: Score, combinations: Sequence[Score], *, near: bool) -> tuple[int, str]:
    """Which to take: 0 is the seed, 1 the single learngene, 2 and up the combinations; and why, in one sentence.

    Args:
        seed: the seed's score.
        single: of the best learngene.
        combinations: of the mixtures that stage C proposed, simplest first.
        near: whether the best learngene's key is near the task's.
    """
    scores = [seed, single, *combinations]
    chosen = 1 if near else 0
    why = (
        "its key is near and the seed is not clearly better on left-out images"
        if near
        else "nothing beat the seed by more than one standard error on left-out images"
    )
    for index in [1 - chosen, *range(2, len(scores))]:
        mean, error = gain(scores[index], scores[chosen])
        if round(mean - error, _PLACES) > 0:
            chosen = index
            why = f"it lowers the left-out error by {mean:.3f} (standard error {error:.3f}) against the simpler choice"
            if index == 0:
                why = f"the seed's left-out error is lower by {mean:.3f} (standard error {error:.3f})"
    return chosen, why
