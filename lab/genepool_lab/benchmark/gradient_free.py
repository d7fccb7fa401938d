"""LoraHub's way (Huang et al. 2023): weights of all members by a gradient-free search on the few labelled images.

As there: one weight a member, bounded, a penalty on their mean absolute value, some forty evaluations. The optimiser is
CMA-ES from the package `cma`; the loss is the closed-form head's leave-one-out error, or at 1-shot minus LogME.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from genepool_lab.benchmark.lab import Lab
from genepool_protocol.learngene import expansion
from genepool_protocol.selection import net, scoring
from genepool_protocol.selection.support import Labels, Pixels

_BOUND: Final = 1.5
_PENALTY: Final = 0.05
_SPREAD: Final = 0.3
_SEEN: Final = 50  # images that an evaluation looks at, at most


def search(
    lab: Lab,
    deltas: Sequence[Mapping[str, npt.NDArray[np.float32]]],
    images: Pixels,
    labels: Labels,
    evaluations: int,
    *,
    rng: int,
) -> list[float]:
    """The best weights that were found, one a member.

    Args:
        lab: blueprint and seed.
        deltas: thin slices of the members.
        images: the support set.
        labels: shape (N,).
        evaluations: of the loss.
        rng: of the search.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it mentions plots that cannot be drawn
        import cma

    blueprint, size = lab.blueprint, lab.blueprint.score.size()
    origin = expansion.expand(expansion.plan(blueprint, size, blueprint.seed.components), lab.seed_tensors)
    plan = expansion.plan(blueprint, size, blueprint.components)
    added = [expansion.expand(plan, net.as_tensors(delta)) for delta in deltas]
    seen = _spread(labels, _SEEN)

    def loss(weights: npt.NDArray[np.float64]) -> float:
        mixed = dict(origin)
        for weight, delta in zip(weights, added, strict=True):
            for name, part in delta.items():
                mixed[name] = mixed[name] + float(weight) * part
        score = scoring.score(net.embed(blueprint, size, mixed, images[seen]).numpy(), labels[seen])
        error = float(np.mean(score.errors)) if score.errors else -score.logme
        return error + _PENALTY * float(np.abs(weights).mean())

    options = {"bounds": [-_BOUND, _BOUND], "maxfevals": evaluations, "seed": rng + 1, "verbose": -9}
    strategy = cma.CMAEvolutionStrategy(len(deltas) * [0.0], _SPREAD, options)
    while not strategy.stop():
        asked = strategy.ask()
        strategy.tell(asked, [loss(np.asarray(candidate)) for candidate in asked])
    return [float(value) for value in strategy.result.xbest]


def _spread(labels: Labels, most: int) -> npt.NDArray[np.int64]:
    """At most so many images, as even over the classes as can be."""
    classes = len(np.unique(labels))
    each = max(1, most // classes)
    return np.sort(np.concatenate([np.flatnonzero(labels == c)[:each] for c in np.unique(labels)]))
