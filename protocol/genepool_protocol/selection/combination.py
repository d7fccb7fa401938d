"""Stage C: from ranked learngenes to mixtures that the guard may choose from.

A proposer maps the ranking to mixtures, simplest first. `averages` is the one that exists: the mean of the first few.
A Frank-Wolfe search over the whole pool takes the same place.
"""

from collections.abc import Callable, Sequence

Mixture = tuple[tuple[str, int], ...]
"""(contribution id, weight in thousandths), sorted by id; the empty mixture is the seed."""

Proposer = Callable[[Sequence[str]], list[Mixture]]
"""From contribution ids, best first, to mixtures of more than one member, simplest first."""


def single(contribution_id: str) -> Mixture:
    """One learngene with weight one."""
    return ((contribution_id, 1000),)


def mixture(weights: dict[str, int]) -> Mixture:
    """The canonical form: sorted by id, without zeros."""
    return tuple(sorted((name, milli) for name, milli in weights.items() if milli))


def averages(ranked: Sequence[str]) -> list[Mixture]:
    """The means of the best two and of the best three."""
    return [mixture(dict.fromkeys(ranked[:k], 1000 // k)) for k in (2, 3) if k <= len(ranked)]
