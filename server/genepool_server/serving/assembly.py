"""Building a descendant in bounded parts: `descendant.build_into`, bit for bit, with somebody reading behind.

The arithmetic of a target does not depend on its neighbours, so a plan can be applied piece by piece; a test holds the
bytes against `build_into`.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Final

from genepool_protocol.learngene import algebra, expansion
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.expansion import Plan, Target
from genepool_protocol.learngene.size import Size

PART_BYTES: Final = 4 << 20
"""A part ends with the tensor that fills it: large enough that a message per part costs nothing."""


def parts(the_plan: Plan, part_bytes: int = PART_BYTES) -> Iterator[tuple[Plan, int]]:
    """The plan in pieces, each with the number of values that it writes."""
    targets: list[Target] = []
    count = 0
    for target in the_plan.targets:
        targets.append(target)
        count += math.prod(target.shape)
        if 4 * count >= part_bytes:
            yield Plan(the_plan.size, tuple(targets)), count
            targets, count = [], 0
    if targets:
        yield Plan(the_plan.size, tuple(targets)), count


def build_parts(
    blueprint: Blueprint,
    size: Size,
    seed: algebra.Flat,
    members: Sequence[tuple[int, algebra.Stored]],
    *,
    out: algebra.Flat,
    gene: algebra.Flat,
    part_bytes: int = PART_BYTES,
) -> Iterator[int]:
    """Write the data section of model.safetensors into `out`; yields how many bytes are final so far.

    Args:
        blueprint: the family.
        size: the descendant's size.
        seed: the seed gene, float32, in canonical order.
        members: (weight in thousandths, delta), sorted by contribution id: the order is part of the bytes.
        out: float32, of `algebra.elements(descendant.layout(...))` values, written completely.
        gene: scratch of the seed's length.
        part_bytes: see `parts`.
    """
    algebra.combine(seed, [(milli / 1000, delta) for milli, delta in members], out=gene)
    views = algebra.views(expansion.gene_layout(blueprint, blueprint.seed.components), gene)
    start = 0
    for piece, count in parts(expansion.plan(blueprint, size, blueprint.seed.components), part_bytes):
        algebra.expand_into(piece, views, out[start : start + count])
        start += count
        yield 4 * start
    out[start:] = 0.0
    yield 4 * out.size
