"""Small blueprints and random genes."""

import numpy as np

from genepool_protocol.learngene import algebra, expansion, privacy, tensors
from genepool_protocol.learngene.blueprint import Blueprint, SeedRef, SizeRef
from genepool_protocol.learngene.manifest import EmbeddingPrivacy, Privacy
from genepool_protocol.trust import digest


def tiny_blueprint(**changes) -> Blueprint:
    """16x16 images, 3 layers, 2 heads of 8: everything runs in milliseconds."""
    values = {
        "name": "tiny-16",
        "image": 16,
        "patch": 4,
        "head_dim": 8,
        "heads": 2,
        "mlp_ratio": 2,
        "depth": 3,
        "depths": [1, 5],
        "components": 2,
        "mean": ["0.5"] * 3,
        "std": ["0.5"] * 3,
        "key": SizeRef(depth=2, heads=2),
        "score": SizeRef(depth=2, heads=1),
        "seed": SeedRef(sha256="sha256:" + "0" * 64, size=1, components=3),
    }
    return Blueprint(**(values | changes))


def published_blueprint(**changes) -> Blueprint:
    """What a published net needs, as small: class token, LayerScale, and layers that are picked; one width only."""
    values = {
        "name": "tiny-published",
        "basis": "dct-pick-v1",
        "class_token": True,
        "layer_scale": True,
        "pooling": "token",
        "narrowest": 2,
        "depth": 4,
        "depths": [2, 4],
        "key": SizeRef(depth=4, heads=2),
        "score": SizeRef(depth=3, heads=2),
        "seed": SeedRef(sha256="sha256:" + "0" * 64, size=1, components=4),
    }
    return tiny_blueprint(**(values | changes))


def random_gene(blueprint: Blueprint, components: int, rng: np.random.Generator, dtype=np.float32) -> dict:
    """Random numbers under a gene's names, of about the size that weights have."""
    layout = expansion.gene_layout(blueprint, components)
    return {name: (0.1 * rng.standard_normal(shape)).astype(dtype) for name, shape in layout.items()}


def seed_gene(blueprint: Blueprint, rng: np.random.Generator) -> dict:
    """A random seed whose norms are near one, so that its net behaves."""
    gene = random_gene(blueprint, blueprint.seed.components, rng)
    for name in gene:
        if name in ("norm.weight", "a0.norm1.weight", "a0.norm2.weight", "a0.ls1.gamma", "a0.ls2.gamma"):
            gene[name] += 1.0
    return gene


def write_seed(folder, rng: np.random.Generator, base=tiny_blueprint, **changes) -> Blueprint:
    """A tiny blueprint with its seed as files, as a pool keeps them."""
    blueprint = base(**changes)
    gene = {name: array.astype(np.float16) for name, array in seed_gene(blueprint, rng).items()}
    raw = tensors.encode(gene, "F16")
    seed = SeedRef(sha256=f"sha256:{digest.sha256_hex(raw)}", size=len(raw), components=blueprint.seed.components)
    blueprint = blueprint.model_copy(update={"seed": seed})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "seed.safetensors").write_bytes(raw)
    (folder / "blueprint.json").write_bytes(blueprint.canonical())
    return blueprint


def flat(blueprint: Blueprint, gene: dict) -> np.ndarray:
    """The flat vector of a whole gene."""
    count = 1 + max(int(name[1:].split(".")[0]) for name in gene if name[0] == "a" and name[1].isdigit())
    return algebra.flatten(expansion.gene_layout(blueprint, count), gene)


def privacy_for(blueprint: Blueprint, images: int = 100, **changes) -> Privacy:
    """A claim for so many images, by default with epsilon 1 and delta 1e-6; noise is what they take."""
    spent = float(changes.get("epsilon", "1")), float(changes.get("delta", "1e-6"))
    least = privacy.ratio_of(*spent) if spent[0] > 0 and 0 < spent[1] < 1 else 1.0
    sigma = privacy.sensitivity(float(blueprint.embedding_frame.clip), images) / least
    claim = {"epsilon": "1", "delta": "1e-6", "clip": blueprint.embedding_frame.clip, "sigma": f"{sigma + 1e-9:.9f}"}
    return Privacy(key=EmbeddingPrivacy(**(claim | {"cumulative_epsilon": "1"} | changes)))
