"""What of a learngene is compared with others: norms of its blocks, and two sketches that are kept instead of it.

A sketch (Charikar, Chen and Farach-Colton 2002) sums the values of a vector into 1,024 buckets with random signs:
cosines of sketches are those of the vectors within about 0.03, so that 10,000 members need not be read again. Buckets
and signs follow from a salt that nobody knows but the pool: who knows them hides a copy by changing 4 % of its length.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from genepool_protocol.learngene import algebra
from genepool_protocol.learngene.algebra import Flat, Gene
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.expansion import Layout, gene_layout

WIDTH: Final = 1024
"""Buckets of a sketch; a power of two."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What is kept of a member.

    Attributes:
        norms: of each block, shape (blocks,).
        direction: sketch of the learngene.
        products: sketch of its `products`.
    """

    norms: npt.NDArray[np.float64]
    direction: npt.NDArray[np.float64]
    products: npt.NDArray[np.float64]


def layout_of(blueprint: Blueprint) -> Layout:
    """Names and shapes of a learngene without its domain embedding."""
    return gene_layout(blueprint, blueprint.components)


def blocks(layout: Layout) -> dict[str, list[slice]]:
    """Where each block lies in a flat learngene: the stem, and norms, attention and MLP of each component."""
    blocks: dict[str, list[slice]] = {}
    start = 0
    for name, shape in layout.items():
        end = start + int(np.prod(shape))
        component, _, rest = name.partition(".")
        inside = component[0] == "a" and component[1:].isdigit()
        block = f"{component}.{rest.partition('.')[0].rstrip('12')}" if inside else "stem"
        blocks.setdefault(block, []).append(slice(start, end))
        start = end
    return blocks


def norms(parts: Mapping[str, list[slice]], flat: Flat) -> npt.NDArray[np.float64]:
    """Norm of each block, in the order of `parts`."""
    return np.array([sum(float(np.dot(flat[s], flat[s])) for s in block) ** 0.5 for block in parts.values()])


def products(blueprint: Blueprint, gene: Gene) -> Flat:
    """What a learngene computes between axes of width: query by key, projection by value, one MLP half by the other.

    They stay the same when heads or hidden units change places, and when one half is scaled up and the other down: a
    copy that was disguised so is found by them. Each product has norm one, or is zero.
    """
    pairs = []
    for component in range(blueprint.components):
        prefix = f"a{component}."
        query, key, value = np.split(gene[prefix + "attn.qkv.weight"], 3)
        pairs.append(query.T @ key)
        pairs.append(gene[prefix + "attn.proj.weight"] @ value)
        pairs.append(gene[prefix + "mlp.fc2.weight"] @ gene[prefix + "mlp.fc1.weight"])
    return np.concatenate([_unit(product.reshape(-1)) for product in pairs])


def sketch(flat: Flat, salt: bytes) -> npt.NDArray[np.float64]:
    """The sketch of a vector, shape (WIDTH,)."""
    buckets, signs = _hashes(salt, flat.size)
    return np.asarray(np.bincount(buckets, flat * signs, WIDTH), dtype=np.float64)


def profile(blueprint: Blueprint, flat: Flat, salt: bytes) -> Profile:
    """The profile of a learngene without its domain embedding, float32."""
    layout = layout_of(blueprint)
    gene = algebra.views(layout, flat)
    return Profile(norms(blocks(layout), flat), sketch(flat, salt), sketch(products(blueprint, gene), salt))


def cosine(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> float:
    """Cosine of two vectors; 0 when one is zero."""
    scale = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    return float(np.dot(one, other)) / scale if scale > 0 else 0.0


def _unit(flat: Flat) -> Flat:
    norm = np.linalg.norm(flat)
    return flat / norm if norm > 0 else flat


@lru_cache(maxsize=4)
def _hashes(salt: bytes, size: int) -> tuple[npt.NDArray[np.int64], Flat]:
    """Bucket and sign of each place, from SHAKE-256: sketches are kept, so these must never change."""
    stream = hashlib.shake_256(salt + size.to_bytes(8, "big")).digest(2 * size)
    drawn = np.frombuffer(stream, "<u2")
    return (drawn % WIDTH).astype(np.int64), (drawn >> 15).astype(np.float32) * 2 - 1
