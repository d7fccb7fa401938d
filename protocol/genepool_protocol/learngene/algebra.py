"""Genes as flat float32 vectors: views by name, weighted sums, and descending into a buffer.

Every operation is an element-wise product or sum in a fixed order, in blocks that stay in the cache: the result has the
same bytes on every machine, at about the speed of copying memory.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from genepool_protocol.learngene.expansion import ExpansionPlan, Layout, Target

Flat = npt.NDArray[np.float32]
Stored = npt.NDArray[np.float32] | npt.NDArray[np.float16]
Gene = dict[str, npt.NDArray[np.float32]]

_BLOCK: Final = 64 << 10
"""Elements per block: the block, its source and the scratch fit into a core's cache together."""

_SIGN_AND_VALUE: Final = np.int32(0x8FFFE000 - (1 << 32))
_REBIAS: Final = np.float32(2.0**112)


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

    Weights are applied as float32; float16 members are widened before they are multiplied. Members are finite.
    """
    scratch = np.empty(min(_BLOCK, out.size), dtype=np.float32)
    longest = max((vector.size for _, vector in members), default=0)
    for start in range(0, longest, _BLOCK):
        _accumulate(out, members, start, scratch)


def _accumulate(out: Flat, members: Sequence[tuple[float, Stored]], start: int, scratch: Flat) -> None:
    for weight, vector in members:
        part = vector[start : start + _BLOCK]
        if part.size:
            term = scratch[: part.size]
            _times(part, np.float32(weight), term)
            block = out[start : start + part.size]
            np.add(block, term, out=block)


def _times(part: Stored, weight: np.float32, out: Flat) -> None:
    """`out = weight * float32(part)`, rounded once.

    The bits of a finite float16, moved to where float32 has them, are its value times 2^-112; the weight takes that
    back. Multiplying by a power of two rounds nothing, and integer operations are six times as fast as numpy's casts.
    """
    if part.dtype == np.float32:
        np.multiply(part, weight, out=out)
        return
    bits = out.view(np.int32)
    np.copyto(bits, part.view(np.int16))
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, _SIGN_AND_VALUE, out=bits)
    np.multiply(out, weight * _REBIAS, out=out)


def combine(seed: Flat, members: Sequence[tuple[float, Stored]], out: Flat | None = None) -> Flat:
    """G0 + sum_k w_k * delta_k as a flat vector; a delta may have fewer components than the seed.

    Args:
        seed: the seed learngene, in canonical order.
        members: (weight, delta) pairs; the order is part of the result's bytes, so callers sort by contribution id.
        out: a buffer to reuse, of the seed's length.
    """
    total = np.empty_like(seed) if out is None else out
    scratch = np.empty(min(_BLOCK, seed.size), dtype=np.float32)
    for start in range(0, seed.size, _BLOCK):
        np.copyto(total[start : start + _BLOCK], seed[start : start + _BLOCK])
        _accumulate(total, members, start, scratch)  # while the block is in the cache
    return total


def combined(layout: Layout, members: Sequence[tuple[int, Stored]], out: Flat) -> Gene:
    """The sum of the members, each with its weight in thousandths, as tensors of the layout over `out`."""
    out[:] = 0.0
    accumulate(out, [(milli / 1000, delta) for milli, delta in members])
    return views(layout, out)


def expand_into(plan: ExpansionPlan, gene: Gene, out: Flat, *, add: bool = False) -> None:
    """`expansion.expand`, bit for bit, written straight into a flat buffer in the plan's order.

    Args:
        plan: what to expand.
        gene: float32, at least as wide and with at least as many components as the plan asks for.
        out: of the plan's number of values, or longer.
        add: whether each term is added to what `out` holds, instead of to nothing.
    """
    scratch = np.empty(max(_chunk(target) * math.prod(target.cut.keep[1:]) for target in plan.targets), np.float32)
    start = 0
    for target in plan.targets:
        count = math.prod(target.shape)
        _expand(target, gene, out[start : start + count], scratch, add=add)
        start += count


def _chunk(target: Target) -> int:
    """Rows of a target that make a block."""
    return min(target.cut.keep[0], max(1, _BLOCK // math.prod(target.cut.keep[1:])))


def _expand(target: Target, gene: Gene, out: Flat, scratch: Flat, *, add: bool) -> None:
    groups, (rows, *others) = target.cut.groups, target.cut.keep
    block, step, inner = out.reshape(groups, rows, *others), _chunk(target), tuple(slice(n) for n in others)
    sources = [
        (
            gene[source].reshape(groups, gene[source].shape[0] // groups, *gene[source].shape[1:]),
            np.float32(coefficient),
        )
        for source, coefficient in target.terms
    ]
    for group in range(groups):
        for row in range(0, rows, step):
            part = block[group, row : row + step]
            term = scratch[: part.size].reshape(part.shape)
            for index, (source, coefficient) in enumerate(sources):
                piece = source[group][row : row + len(part)][(slice(None), *inner)]
                if index or add:
                    np.multiply(piece, coefficient, out=term)
                    np.add(part, term, out=part)
                else:
                    np.multiply(piece, coefficient, out=part)
