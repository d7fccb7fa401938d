"""Building a descendant in bounded parts: `descendant.build_into`, bit for bit, with somebody reading behind.

The arithmetic of a target does not depend on its neighbours, so a plan can be applied piece by piece; a test holds the
bytes against `build_into`.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from genepool_protocol.learngene import algebra, expansion
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.expansion import ExpansionPlan, Target
from genepool_protocol.learngene.size import Size

PART_BYTES: Final = 4 << 20
"""A part ends with the tensor that fills it: large enough that a message per part costs nothing."""


def parts(the_plan: ExpansionPlan, part_bytes: int = PART_BYTES) -> Iterator[tuple[ExpansionPlan, int]]:
    """The plan in pieces, each with the number of values that it writes."""
    targets: list[Target] = []
    count = 0
    for target in the_plan.targets:
        targets.append(target)
        count += math.prod(target.shape)
        if 4 * count >= part_bytes:
            yield ExpansionPlan(the_plan.size, tuple(targets)), count
            targets, count = [], 0
    if targets:
        yield ExpansionPlan(the_plan.size, tuple(targets)), count


class Base:
    """D(G0) of one size, kept after its first use: the part of a descendant that does not depend on learngenes."""

    def __init__(self, blueprint: Blueprint, size: Size, seed: algebra.Flat) -> None:
        self._seed = algebra.views(expansion.gene_layout(blueprint, blueprint.seed.components), seed)
        self._plan = expansion.plan(blueprint, size, blueprint.seed.components)
        self._whole: algebra.Flat | None = None

    @property
    def values(self) -> int:
        """How many values it has."""
        return sum(math.prod(target.shape) for target in self._plan.targets)

    def pieces(self, out: algebra.Flat, part_bytes: int) -> Iterator[algebra.Flat]:
        """Write it into `out`, part after part; yields the part that was written."""
        whole, start = self._whole, 0
        fresh = np.empty(self.values, dtype=np.float32) if whole is None else whole
        for piece, count in parts(self._plan, part_bytes):
            if whole is None:
                algebra.expand_into(piece, self._seed, fresh[start : start + count])
            np.copyto(out[start : start + count], fresh[start : start + count])
            yield out[start : start + count]
            start += count
        self._whole = fresh


def build_parts(
    blueprint: Blueprint,
    base: Base,
    size: Size,
    members: Sequence[tuple[int, algebra.Stored]],
    *,
    out: algebra.Flat,
    scratch: algebra.Flat,
    part_bytes: int = PART_BYTES,
) -> Iterator[int]:
    """Write the data section of model.safetensors into `out`; yields how many bytes are final so far.

    Args:
        blueprint: the family.
        base: of the same blueprint and size.
        size: the descendant's size.
        members: (weight in thousandths, delta), sorted by contribution id: the order is part of the bytes.
        out: float32, of `algebra.elements(descendant.layout(...))` values, written completely.
        scratch: of a learngene's length.
        part_bytes: see `parts`.
    """
    delta = algebra.combined(expansion.gene_layout(blueprint, blueprint.components), members, scratch)
    pieces = parts(expansion.plan(blueprint, size, blueprint.components), part_bytes)
    built = 0
    for part, (piece, _) in zip(base.pieces(out, part_bytes), pieces, strict=True):
        if members:
            algebra.expand_into(piece, delta, part, add=True)
        built += part.size
        yield 4 * built
    out[built:] = 0.0
    yield 4 * out.size
