"""The canary: what a contribution does to few-shot tasks on a public set, alone and in a merge with other members.

The set comes with the software (lab/data/make_canary.py; 400 pictures of five tasks of the sample pack).
Features of the scoring size go into the closed-form head of TALS; what counts is its leave-one-out mean squared error
on these pictures, a finer measure than accuracy. Who knows the set can pass it: it finds what is broken, not what is
hidden.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F

from genepool_protocol.learngene import algebra, expansion
from genepool_protocol.learngene.algebra import Flat, Stored
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.selection import discriminant, net
from genepool_protocol.selection.support import Pixels
from genepool_server.admission.screens import Finding, Screen

ALONE: Final = 0.7
"""Weight of a contribution alone: all that TALS gives what it selects by domain embedding."""

DOUBT: Final = 0.03
"""Growth of the error, alone or by joining the merge, from which the operator is asked; honest learngenes of `nano-32`
reach 0.025, of `vit-s14` 0.028, and of a baked one a site of 220 pictures reached 0.039."""

HARM: Final = 0.06
"""Growth that rejects; boosted four times, learngenes of 80 steps (`vit-s14`) or 150 (`nano-32`) and more add 0.096 to
0.22, those of fifteen steps need ten times."""

MERGED: Final = 4
"""Other members of the merge, at most: in a larger one a single contribution hardly shows."""

_FILE: Final = Path(__file__).with_name("canary.npz")


@dataclass(frozen=True)
class Canary:
    """Measures combinations of one blueprint.

    Attributes:
        blueprint: the family.
        seed: the whole seed, flat.
    """

    blueprint: Blueprint
    seed: Flat

    @cached_property
    def _public(self) -> tuple[Pixels, torch.Tensor, torch.Tensor]:
        with np.load(_FILE, allow_pickle=False) as archive:
            pixels = torch.from_numpy(archive["pixels"]).permute(0, 3, 1, 2)
            labels, tasks = (torch.from_numpy(archive[name].astype(np.int64)) for name in ("labels", "tasks"))
        if pixels.shape[-1] != self.blueprint.image:
            sides = (self.blueprint.image, self.blueprint.image)
            pixels = F.interpolate(pixels.float(), sides, mode="bilinear", antialias=True).round().to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).numpy(), labels, tasks

    def error(self, members: Sequence[tuple[float, Stored]]) -> float:
        """Mean squared error of the head's probabilities on the public pictures, leave-one-out, from 0 to 2."""
        blueprint, size = self.blueprint, self.blueprint.score.size()
        layout = expansion.gene_layout(blueprint, blueprint.seed.components)
        gene = net.as_tensors(algebra.views(layout, algebra.combine(self.seed, members)))
        weights = expansion.expand(expansion.plan(blueprint, size, blueprint.seed.components), gene)
        pixels, labels, tasks = self._public
        features = net.embed(blueprint, size, weights, pixels).double()
        return float(
            np.mean([_error(features[tasks == task], labels[tasks == task]) for task in range(int(tasks.max()) + 1)])
        )

    @cached_property
    def _seed_error(self) -> float:
        return self.error([])

    def findings(self, delta: Stored, peers: Sequence[Stored]) -> Iterable[Finding]:
        """What a contribution breaks.

        Args:
            delta: the learngene without its domain embedding, flat.
            peers: others' in a fixed order, of which the first `MERGED` are taken.
        """
        alone = self.error([(ALONE, delta)]) - self._seed_error
        yield from _judged(alone, "alone")
        others = list(peers[:MERGED])
        if others:
            harm = self._joining(delta, others)
            agreed = harm <= HARM or self._agreed(delta, others)  # one owner's word does not reject
            yield from _judged(harm, f"in the merge with {len(others)} other{'s' * (len(others) > 1)}", agreed=agreed)

    def _joining(self, delta: Stored, others: Sequence[Stored]) -> float:
        """Growth of the error of a uniform merge that a contribution joins."""
        without = self.error([(1 / len(others), member) for member in others])
        share = 1 / (len(others) + 1)
        return self.error([(share, member) for member in [*others, delta]]) - without

    def _agreed(self, delta: Stored, others: Sequence[Stored]) -> bool:
        """Whether it harms the merge whichever single one of the others is left out."""
        rests = [[*others[:place], *others[place + 1 :]] for place in range(len(others))]
        return len(others) > 1 and not any(self._joining(delta, rest) <= HARM for rest in rests)


def _judged(harm: float, where: str, *, agreed: bool = True) -> Iterable[Finding]:
    """What a growth of the error is found to be; what is not a number is harm."""
    if not harm <= DOUBT:
        screen: Screen = "CANARY_DOUBT" if harm <= HARM or not agreed else "CANARY"
        yield Finding(screen, f"{where} it adds {harm:.3f} to the error on public tasks, at most {DOUBT:g} is fine")


def _error(features: torch.Tensor, labels: torch.Tensor) -> float:
    if not bool(features.isfinite().all()):
        return float("nan")
    leave_one_out = discriminant.leave_one_out(features, labels)
    answers = (leave_one_out * discriminant.sharpness(leave_one_out, labels)).softmax(dim=1)
    return float((answers - F.one_hot(labels, answers.shape[1])).square().sum(dim=1).mean())
