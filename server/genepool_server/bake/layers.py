"""The seed in training: a net of the reference size, seen at every other size through its own gene.

Training moves the layers and not the components: an orthogonalising optimiser wants whole matrices, and at the
reference size nothing has to be expanded. The gene is the layers' projection, so a net of another size is one matrix
product over depth away.
"""

from collections.abc import Mapping

import torch

from genepool_protocol.learngene import expansion
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.size import Size

Net = dict[str, torch.Tensor]


def fresh(blueprint: Blueprint, rng: torch.Generator) -> Net:
    """A random net of the reference size by timm's names: normal weights, sines and cosines as positions."""
    net: Net = {}
    for name, shape in expansion.plan(blueprint, blueprint.reference, blueprint.seed.components).layout.items():
        last = name.rsplit(".", 1)[-1]
        if last == "bias":
            net[name] = torch.zeros(shape)
        elif "norm" in name:
            net[name] = torch.ones(shape)
        elif name.startswith("patch_embed"):
            net[name] = torch.randn(shape, generator=rng) * 0.15
        elif name == "pos_embed":
            net[name] = 0.3 * _positions(blueprint)
        else:
            net[name] = torch.randn(shape, generator=rng) * 0.03
    return net


def _positions(blueprint: Blueprint) -> torch.Tensor:
    """Sines and cosines in two dimensions, interleaved so that every prefix of the width sees all directions."""
    side, quarter = blueprint.image // blueprint.patch, blueprint.width(blueprint.heads) // 4
    rate = 1.0 / 10000 ** (torch.arange(quarter) / quarter)
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    y, x = row.reshape(-1, 1) * rate, column.reshape(-1, 1) * rate
    return torch.stack([y.sin(), y.cos(), x.sin(), x.cos()], dim=-1).reshape(1, blueprint.tokens, -1)


def gene(blueprint: Blueprint, net: Mapping[str, torch.Tensor]) -> Net:
    """The net's gene with the seed's components, detached, in the order of its layout."""
    projected = expansion.project(blueprint, net, blueprint.seed.components)
    layout = expansion.gene_layout(blueprint, blueprint.seed.components)
    return {name: projected[name].detach().clone() for name in layout}


def at_size(blueprint: Blueprint, size: Size, net: Mapping[str, torch.Tensor]) -> Net:
    """What the net's gene expands to at that size, with gradients: one product over depth per kind of tensor."""
    mix = _mix(blueprint, size.depth)
    weights: Net = {}
    for target in expansion.plan(blueprint, size, blueprint.seed.components).targets:
        if not target.name.startswith("blocks."):
            weights[target.name] = target.cut(net[target.name])
        elif target.name.startswith("blocks.0."):
            kind = target.name.removeprefix("blocks.0.")
            layers = [target.cut(net[f"blocks.{layer}.{kind}"]) for layer in range(blueprint.depth)]
            if isinstance(mix, list):
                mixed = [layers[layer] for layer in mix]
            else:
                mixed = list((mix @ torch.stack(layers).flatten(1)).reshape(size.depth, *target.shape))
            weights.update({f"blocks.{layer}.{kind}": tensor for layer, tensor in enumerate(mixed)})
    return weights


def _mix(blueprint: Blueprint, depth: int) -> torch.Tensor | list[int]:
    """How layers of that depth are made of the reference net's: which they are, or a matrix over the reference's."""
    reference, components = blueprint.depth, blueprint.seed.components
    places = [expansion.place(blueprint.basis, reference, layer, depth) for layer in range(depth)]
    if components == reference and all(steps == reference for _, steps in places):
        return [step for step, _ in places]
    into = torch.tensor(
        [[expansion.curve(n, at, reference) / reference for at in range(reference)] for n in range(components)]
    )
    out = torch.tensor([[expansion.curve(n, *at) for n in range(min(components, at[1]))] for at in places])
    return out @ into[: out.shape[1]]
