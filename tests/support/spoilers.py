"""Learngenes that resemble honest ones in what screens look at, and the ways to spoil them (trust reference, 5.1).

Real ones of `nano-32`: norms of 0.04 (stem), 0.16 (attention) and 0.13 (MLP) of the seed's, cosines of 0.03 to 0.13
between domains. The same is drawn here at once: one common direction, and much of each site's own.
"""

import zlib
from pathlib import Path

import numpy as np

from genepool_protocol.learngene import algebra, manifest, tensors
from genepool_protocol.learngene.blueprint import Blueprint, bundled_folder, parse_blueprint
from genepool_protocol.learngene.expansion import gene_layout
from genepool_server.admission import profile

SHARES = {"stem": 0.04, "norm": 0.03, "attn": 0.16, "mlp": 0.13}
COMMON = 0.35  # cosines of 0.11


def nano() -> tuple[Blueprint, Path]:
    """The blueprint that the limits were measured on, and its seed."""
    folder = bundled_folder("nano-32")
    return parse_blueprint((folder / "blueprint.json").read_bytes()), folder / "seed.safetensors"


def seed_of(blueprint: Blueprint, path: Path) -> np.ndarray:
    """The seed's gene of as many components as a learngene has, flat."""
    whole = tensors.TensorFile(path).flat(gene_layout(blueprint, blueprint.seed.components)).astype(np.float32)
    return whole[: algebra.elements(profile.layout_of(blueprint))]


def honest(blueprint: Blueprint, seed: np.ndarray, number: int, common: int = 0) -> np.ndarray:
    """A learngene of another site for each number."""
    shared, own = (
        np.random.default_rng([which, n]).standard_normal(seed.size) for which, n in ((0, common), (1, number))
    )
    delta = (COMMON * shared + own).astype(np.float32)
    for block, where in profile.blocks(profile.layout_of(blueprint)).items():
        share = SHARES[block.rpartition(".")[2]]
        ours, theirs = (np.sqrt(sum(np.dot(v[one], v[one]) for one in where)) for v in (delta, seed))
        for one in where:
            delta[one] *= share * theirs / ours
    return delta


def views(blueprint: Blueprint, flat: np.ndarray) -> dict[str, np.ndarray]:
    """Copies of the tensors."""
    return {name: part.copy() for name, part in algebra.views(profile.layout_of(blueprint), flat).items()}


def flat(gene: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([part.reshape(-1) for part in gene.values()])


def permuted(blueprint: Blueprint, whole: np.ndarray, share: float = 1.0, *, heads: bool = True) -> np.ndarray:
    """Hidden units and heads exchanged, alike in every component: alone it computes the same."""
    gene, rng = views(blueprint, whole), np.random.default_rng(4)
    units = len(gene["a0.mlp.fc1.bias"])
    order = np.arange(units)
    chosen = np.sort(rng.permutation(units)[: int(units * share)])
    order[chosen] = np.roll(chosen, 1)
    turned = np.roll(np.arange(blueprint.heads), 1) if heads else np.arange(blueprint.heads)
    for component in range(blueprint.components):
        name = f"a{component}."
        for half in ("mlp.fc1.weight", "mlp.fc1.bias"):
            gene[name + half] = gene[name + half][order]
        gene[name + "mlp.fc2.weight"] = gene[name + "mlp.fc2.weight"][:, order]
        for part in ("attn.qkv.weight", "attn.qkv.bias"):
            old = gene[name + part]
            gene[name + part] = old.reshape(3, blueprint.heads, blueprint.head_dim, -1)[:, turned].reshape(old.shape)
        old = gene[name + "attn.proj.weight"]
        gene[name + "attn.proj.weight"] = old.reshape(len(old), blueprint.heads, -1)[:, turned].reshape(old.shape)
    return flat(gene)


def rescaled(blueprint: Blueprint, whole: np.ndarray, factor: float) -> np.ndarray:
    """Queries times a factor, keys divided by it: alone it computes the same."""
    gene = views(blueprint, whole)
    for component in range(blueprint.components):
        for part in ("weight", "bias"):
            qkv = gene[f"a{component}.attn.qkv.{part}"]
            third = len(qkv) // 3
            qkv[:third] *= factor
            qkv[third : 2 * third] /= factor
    return flat(gene)


def noise(blueprint: Blueprint, delta: np.ndarray, number: int = 0) -> np.ndarray:
    """Random numbers with the norm of every tensor."""
    rng, gene = np.random.default_rng([9, number]), views(blueprint, delta)
    for name, part in gene.items():
        random = rng.standard_normal(part.shape)
        gene[name] = (random * np.linalg.norm(part) / np.linalg.norm(random)).astype(np.float32)
    return flat(gene)


def one_bit_flipped(blueprint: Blueprint, delta: np.ndarray) -> np.ndarray:
    """The last bit of one float16 of the file flipped: other bytes, and nothing that a net would notice."""
    halves = delta.astype(np.float16)
    halves.view(np.uint16)[halves.size // 2] ^= 1
    return halves.astype(np.float32)


def blinded(delta: np.ndarray, salt: bytes) -> np.ndarray:
    """A near copy whose sketch under this salt is zero: about 4 % of the length is changed."""
    buckets, signs = profile._hashes(salt, delta.size)
    sums = np.bincount(buckets, delta * signs, profile.WIDTH) / np.bincount(buckets, minlength=profile.WIDTH)
    return (delta - signs * sums[buckets]).astype(np.float32)


def file(blueprint: Blueprint, delta: np.ndarray) -> bytes:
    """A learngene.safetensors with a key."""
    gene = views(blueprint, delta)
    width = manifest.file_layout(blueprint)["key.mean"]
    rng = np.random.default_rng(zlib.crc32(delta.tobytes()))
    return tensors.encode({**gene, "key.mean": rng.standard_normal(width)}, "F16")
