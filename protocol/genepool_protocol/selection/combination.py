"""Stage C: which mixtures of learngenes may be the answer.

`by_nearness` is what the embeddings say. `walk` searches: Frank-Wolfe over all candidates (Jaggi 2013; for merging
models: Chen et al., ICCV 2025). Each step asks for the slope of the leave-one-out error along every learngene, which is
one backward pass and an inner product per learngene because descending is linear, and goes towards the steepest one as
far as the error says.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import numpy as np

from genepool_protocol.selection import guard
from genepool_protocol.selection.score import Score

Mixture = tuple[tuple[str, int], ...]
"""(contribution id, weight in thousandths), sorted by id; the empty mixture is the seed."""

_WHOLE: Final = 1000
_STRIDES: Final = (500, 250, 125)
"""Shares of the way to a learngene, in thousandths, that one step may go."""

_MOST_STEPS: Final = 8

_NEAREST: Final = 3
"""Learngenes in a mixture by nearness, at most."""

_LEAD: Final = 0.1
"""A domain embedding that is nearer than the next by more than this answers alone."""

_HALVING: Final = 0.06

NEAR: Final = 0.5
"""Up to this distance an embedding is trusted. Measured with three sites and tasks of twenty-one domains: nearer ones
gained by a learngene's whole share, those up to 0.65 at one image a class only and most by a half of it."""

FAR: Final = 0.75
"""From this distance on a task is like no site. Tasks of a site's kind are 0.2 to 0.55 from it; of those beyond it
most gained nothing."""

_SHARE: Final = 700
"""What a single learngene, or a mixture by nearness, weighs at most, in thousandths. Sites of many classes gained
another one or two points by 1000, those of ten classes or fewer lost up to five."""

_PLACES: Final = 9


class Evaluator(Protocol):
    """What TALS asks of whoever holds the learngenes and the support set."""

    def scores(self, mixtures: Sequence[Mixture]) -> Iterable[Score]:
        """The score of each mixture, in order."""
        ...

    def slopes(self, mixture: Mixture, ids: Sequence[str]) -> Sequence[float]:
        """The slope of the mean leave-one-out error at the mixture along each learngene; negative: more of it helps."""
        ...


def single(contribution_id: str) -> Mixture:
    """One learngene. Between the seed and a net that was tuned from it lies a better one (Wortsman et al. 2022)."""
    return ((contribution_id, _SHARE),)


def mixture(weights: dict[str, int]) -> Mixture:
    """The canonical form: sorted by id, without zeros."""
    return tuple(sorted((name, milli) for name, milli in weights.items() if milli))


def trust(distance: float) -> int:
    """What learngenes weigh together, in thousandths, when the nearest embedding is so far: 700 to `NEAR`, 0 at `FAR`.

    Between them it falls on a straight line: there a learngene helps at one image a class and soon no more, and the
    less of it is taken, the less it can harm.
    """
    return round(_SHARE * min(1.0, max(0.0, (FAR - distance) / (FAR - NEAR))))


def by_nearness(distances: Sequence[tuple[str, float]]) -> Mixture:
    """What the embeddings say: the nearest learngene where it leads clearly, else a mixture of the nearest three.

    In a mixture a learngene's weight halves with every 0.06 that its embedding is farther; together they weigh what the
    nearest is trusted with. Empty, the seed, where that is nothing.

    Args:
        distances: (contribution id, distance) of different sites, nearest first, at least one.
    """
    nearest = sorted(distances, key=lambda pair: round(pair[1], _PLACES))[:_NEAREST]  # the same distance: as they came
    whole = trust(nearest[0][1])
    if len(nearest) == 1 or nearest[1][1] - nearest[0][1] > _LEAD:
        return mixture({nearest[0][0]: whole})
    raw = np.array([2.0 ** (-(distance - nearest[0][1]) / _HALVING) for _, distance in nearest])
    shares = np.floor(whole * raw / raw.sum()).astype(int).tolist()
    return mixture(dict(zip((name for name, _ in nearest), shares, strict=True)))


def walk(evaluator: Evaluator, ids: Sequence[str], start: Mixture, score: Score) -> list[tuple[Mixture, Score]]:
    """Frank-Wolfe from a mixture: where every step that helps by more than a standard error leads.

    Args:
        evaluator: scores and slopes.
        ids: which learngenes may come in, nearest first.
        start: for instance the seed, or the best single learngene.
        score: of the start.

    Returns:
        The mixtures after each step, with their scores; empty when no step helps.
    """
    path: list[tuple[Mixture, Score]] = []
    for _ in range(_MOST_STEPS):
        slopes = np.round(evaluator.slopes(start, ids), _PLACES)
        steepest = int(np.argmin(slopes))  # of equally steep ones the first, whatever its id
        if slopes[steepest] >= 0:
            break
        ways = [way for way in (_towards(start, ids[steepest], stride) for stride in _STRIDES) if way != start]
        scored = list(zip(ways, evaluator.scores(ways), strict=True))
        if not scored:
            break
        best, its = min(scored, key=lambda pair: round(float(np.mean(pair[1].errors)), _PLACES))
        mean, error = guard.gain(its, score)
        if mean <= error:
            break
        path.append((best, its))
        start, score = best, its
    return path


def _towards(start: Mixture, name: str, stride: int) -> Mixture:
    weights = {other: milli * (_WHOLE - stride) // _WHOLE for other, milli in start}
    weights[name] = weights.get(name, 0) + stride
    return mixture(weights)
