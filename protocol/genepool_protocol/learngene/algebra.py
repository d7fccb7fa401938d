"""Genes as flat float32 vectors: views by name, weighted sums, and descending into a buffer.

Every operation is an element-wise product or sum in a fixed order, in blocks that stay in the cache: the result has the
same bytes on every machine, at about the speed of copying memory.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from genepool_protocol.learngene.expansion import Layout, Plan

Flat = npt.NDArray[np.float32]
Stored = npt.NDArray[np.float32] | npt.NDArray[np.float16]
Gene = dict[str, npt.NDArray[np.float32]]

_BLOCK: Final = 64 << 10
"""Elements per block: the block, its source and the scratch fit into a core's cache together."""


def elements(layout: Layout) -> int:
    """Number of values of a layout."""
    return sum(math.prod(shape) for shape in layout.values())


def views(layout: Layout, flat: Flat) -> Gene:
    """The tensors of a flat vector, by name, without copying.

    Raises:
        ValueError: the vector is shorter than the layout (a programming error: files are checked before).
    """
    gene, start = {}, 0
    for name, shape in layout.items():
        count = math.prod(shape)
        gene[name] = flat[start : start + count].reshape(shape)
        start += count
    return gene


def flatten(layout: Layout, gene: Mapping[str, npt.ArrayLike]) -> Flat:
    """The flat vector of a gene, in the layout's order."""
    return np.concatenate([np.asarray(gene[name], dtype=np.float32).reshape(-1) for name in layout])


def accumulate(out: Flat, members: Sequence[tuple[float, Stored]]) -> None:
    """`out[:len(m)] += w * m` for every member, in the order given, in place.

    Weights are applied as float32; float16 members are widened before they are multiplied.
    """
    scratch = np.empty(min(_BLOCK, out.size), dtype=np.float32)
    longest = max((vector.size for _, vector in members), default=0)
    for start in range(0, longest, _BLOCK):
        for weight, vector in members:
            part = vector[start : start + _BLOCK]
            if part.size:
                term = scratch[: part.size]
                np.multiply(part, np.float32(weight), out=term, dtype=np.float32, casting="same_kind")
                block = out[start : start + part.size]
                np.add(block, term, out=block)


def combine(seed: Flat, members: Sequence[tuple[float, Stored]], out: Flat | None = None) -> Flat:
    """G0 + sum_k w_k * delta_k as a flat vector; a delta may have fewer components than the seed.

    Args:
        seed: the seed learngene, in canonical order.
        members: (weight, delta) pairs; the order is part of the result's bytes, so callers sort by contribution id.
        out: a buffer to reuse, of the seed's length.
    """
    total = np.empty_like(seed) if out is None else out
    np.copyto(total, seed)
    accumulate(total, members)
    return total


def expand_into(plan: Plan, gene: Gene, out: Flat) -> None:
    """`expansion.expand`, bit for bit, written straight into a flat buffer in the plan's order."""
    scratch = np.empty(max(math.prod(target.shape) for target in plan.targets), dtype=np.float32)
    start = 0
    for target in plan.targets:
        count = math.prod(target.shape)
        parted = (target.cut.groups, *target.cut.keep)
        block = out[start : start + count].reshape(parted)
        term = scratch[:count].reshape(parted)
        for index, (source, coefficient) in enumerate(target.terms):
            array = gene[source]
            parts = array.reshape(target.cut.groups, array.shape[0] // target.cut.groups, *array.shape[1:])
            part = parts[(slice(None), *(slice(0, n) for n in target.cut.keep))]
            np.multiply(part, np.float32(coefficient), out=term if index else block)
            if index:
                np.add(block, term, out=block)
        start += count
