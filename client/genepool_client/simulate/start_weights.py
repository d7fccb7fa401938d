"""Where a net starts: random weights, or what a mixture of learngenes descends to."""

from collections.abc import Mapping

import numpy as np
import timm
import torch

from genepool_protocol.learngene import algebra, descendant, expansion
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.size import Size
from genepool_protocol.selection import net

Deltas = Mapping[str, algebra.Stored]
"""Flat learngenes by contribution id."""


def scratch(blueprint: Blueprint, size: Size, rng: int) -> net.Weights:
    """A random net of that size, by timm's initialization."""
    with torch.random.fork_rng():
        torch.manual_seed(rng)
        model = timm.create_model(descendant.TIMM_ARCHITECTURE, num_classes=0, **descendant.model_args(blueprint, size))
    return {name: tensor.detach() for name, tensor in model.state_dict().items()}


def descended(
    blueprint: Blueprint, size: Size, seed: algebra.Flat, deltas: Deltas, mixture: tuple[tuple[str, int], ...]
) -> net.Weights:
    """The weights that the pool descends to, made at home from the same learngenes."""
    members = [(milli / 1000, deltas[name]) for name, milli in mixture]
    gene = algebra.views(expansion.gene_layout(blueprint, blueprint.seed.components), algebra.combine(seed, members))
    return net.as_tensors(expansion.expand(expansion.plan(blueprint, size, blueprint.seed.components), gene))


def random_pool(deltas: Deltas, rng: int) -> dict[str, algebra.Stored]:
    """Learngenes of random numbers with the norm of each real one: the control that a real gain must beat."""
    generator = np.random.default_rng(rng)
    pool: dict[str, algebra.Stored] = {}
    for name, delta in sorted(deltas.items()):
        noise = generator.standard_normal(delta.size).astype(np.float32)
        pool[name] = noise * np.float32(np.linalg.norm(delta.astype(np.float32)) / np.linalg.norm(noise))
    return pool
