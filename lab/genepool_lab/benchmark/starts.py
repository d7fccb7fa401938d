"""Where a net starts: every column of every table is one of these, at some size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from genepool_client.simulate import start_weights
from genepool_lab.benchmark.lab import Lab
from genepool_protocol.learngene import algebra, expansion
from genepool_protocol.learngene.size import Size
from genepool_protocol.selection import net


@dataclass(frozen=True, slots=True)
class Start:
    """How the weights come about.

    Attributes:
        kind: `scratch`; `gene` (the seed plus a weighted sum of members); `selected` (layers and heads picked from the
            seed's largest net); `net` (finished weights of one size).
        members: (content key, weight) of what is summed; of the net.
        rng: of a scratch start.
    """

    kind: str
    members: tuple[tuple[str, float], ...] = ()
    rng: int = 0


SEED = Start("gene")


def single(member: str) -> Start:
    """The seed plus one learngene."""
    return Start("gene", ((member, 1.0),))


def uniform(members: Sequence[str]) -> Start:
    """The uniform soup."""
    return Start("gene", tuple((name, 1.0 / len(members)) for name in sorted(members)))


def weights_of(lab: Lab, start: Start, size: Size) -> net.Weights:
    """The weights of a net of that size, by timm's names, without head."""
    if start.kind == "scratch":
        return start_weights.scratch(lab.blueprint, size, start.rng)
    if start.kind == "net":
        return net.as_tensors(lab.store.arrays(start.members[0][0]))
    if start.kind == "selected":
        return selected(lab, size)
    gene = algebra.combine(lab.seed, [(weight, lab.delta(name)) for name, weight in start.members])
    plan = expansion.plan(lab.blueprint, size, lab.blueprint.seed.components)
    return net.as_tensors(expansion.expand(plan, lab.gene(gene)))


def selected(lab: Lab, size: Size) -> net.Weights:
    """Weight selection (Xu et al. 2024): the first layers of the seed's reference net, and evenly spread heads.

    Beyond the reference depth the last layer is repeated.
    """
    blueprint = lab.blueprint
    plan = expansion.plan(blueprint, blueprint.reference, blueprint.seed.components)
    whole = net.as_tensors(expansion.expand(plan, lab.gene(lab.seed)))
    heads = np.round(np.linspace(0, blueprint.heads - 1, size.heads)).astype(int)
    wide, dim = blueprint.width(blueprint.heads), blueprint.head_dim
    columns = np.concatenate([np.arange(h * dim, (h + 1) * dim) for h in heads])
    layout = expansion.plan(blueprint, size, blueprint.seed.components).layout
    return {name: _picked(whole[_source(name, blueprint.depth)], columns, wide) for name in layout}


def _source(name: str, depth: int) -> str:
    if not name.startswith("blocks."):
        return name
    _, layer, rest = name.split(".", 2)
    return f"blocks.{min(int(layer), depth - 1)}.{rest}"


def _picked(tensor: torch.Tensor, kept: np.ndarray, width: int) -> torch.Tensor:
    for axis, length in enumerate(tensor.shape):
        if length % width == 0 and length >= width:
            places = np.concatenate([group * width + kept for group in range(length // width)])
            tensor = tensor.index_select(axis, torch.from_numpy(places))
    return tensor.contiguous()
