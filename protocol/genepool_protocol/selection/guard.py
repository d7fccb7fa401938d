"""Stage D: whoever holds the answer keeps it unless a challenger is better on held-out images.

All are scored on the same held-out images, so differences are paired. The embedding decides who holds: the nearest
learngenes where the task is like one that the pool has seen, else the seed. Domain embeddings find the right site in
tasks of five images where leave-one-out errors are noise, so a challenger must be better by so many standard errors of
the difference: the seed, which is simpler, by one, anything else by two.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from genepool_protocol.selection.score import Score

SIMPLER: Final = 1.0
"""Standard errors by which the seed must be better than learngenes."""

CLEARLY: Final = 2.0
"""Standard errors by which learngenes must be better than what holds."""

BROKEN: Final = 0.05
"""Growth of the error on views of single images, from which what the embeddings say is taken for broken. Honest
mixtures have 0.034 at most in twenty tasks, an attacker's that minds other views only 0.32 to 0.54 on its target
(`python -m tests.benchmarks.one_image`)."""

_PLACES: Final = 6


def gain(challenger: Score, holder: Score) -> tuple[float, float]:
    """Mean reduction of the leave-one-out squared error against the holder, and its standard error over the images."""
    difference = np.asarray(holder.errors) - np.asarray(challenger.errors)
    deviation = float(difference.std(ddof=1)) if len(difference) > 1 else 0.0
    return float(difference.mean()), deviation / max(len(difference), 1) ** 0.5


def choose(holder: Score, challengers: Sequence[tuple[Score, float]]) -> tuple[int, str]:
    """Which to take, 0 being the holder and 1 and up the challengers, simplest first; and what decided.

    A challenger that takes over is the holder for those after it.

    Args:
        holder: its score.
        challengers: their scores, each with the standard errors by which it must be better.
    """
    scores = [holder, *(score for score, _ in challengers)]
    chosen, why = 0, "nothing is clearly better on held-out images"
    for index, (score, margin) in enumerate(challengers, start=1):
        mean, error = gain(score, scores[chosen])
        if round(mean - margin * error, _PLACES) > 0:
            chosen = index
            lowered = f"it lowers the leave-one-out error by {mean:.3f} (standard error {error:.3f})"
            why = f"{lowered} against what the domain embeddings say"
    return chosen, why
