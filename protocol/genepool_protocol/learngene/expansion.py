"""D is data: the plan that turns a gene into the weights of a descendant.

    W_l = sum_n c_n(x_l) * A_n[prefix slices],   c_0 = 1,  c_n(x) = sqrt(2) cos(pi n x)

`dct-v1` stretches the curves over the depth L: x_l = (l + 1/2) / L with l from 0. Components n >= L are left out, so
that the basis is orthogonal for every N <= L. It is for seeds whose depths were all trained. `dct-pick-v1` keeps the
curves where the reference depth R has them and picks L of its R layers, evenly from the first to the last:
x_l = (p + 1/2) / R with p = round(l (R - 1) / (L - 1)), halves upwards. It is for published nets: with R components all
their layers are there, and a shallower descendant is made of some of them, not of averages of layers that have nothing
in common.

Everything here is linear in the gene, so D(G0 + sum w_k delta_k) = D(G0) + sum w_k D(delta_k); a property test keeps
it so.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from genepool_protocol.learngene.blueprint import Basis, Blueprint
from genepool_protocol.learngene.size import Size

Shape = tuple[int, ...]
Layout = dict[str, Shape]
"""Tensor name -> shape, in the canonical order."""

_STEM: Final[dict[str, tuple[str, ...]]] = {
    "cls_token": ("1", "1", "d"),
    "patch_embed.proj.weight": ("d", "c", "p", "p"),
    "patch_embed.proj.bias": ("d",),
    "pos_embed": ("1", "t", "d"),
    "norm.weight": ("d",),
    "norm.bias": ("d",),
}
_BLOCK: Final[dict[str, tuple[str, ...]]] = {
    "norm1.weight": ("d",),
    "norm1.bias": ("d",),
    "attn.qkv.weight": ("3d", "d"),
    "attn.qkv.bias": ("3d",),
    "attn.proj.weight": ("d", "d"),
    "attn.proj.bias": ("d",),
    "ls1.gamma": ("d",),
    "norm2.weight": ("d",),
    "norm2.bias": ("d",),
    "mlp.fc1.weight": ("m", "d"),
    "mlp.fc1.bias": ("m",),
    "mlp.fc2.weight": ("d", "m"),
    "mlp.fc2.bias": ("d",),
    "ls2.gamma": ("d",),
}
_ONLY_WITH: Final = {"cls_token": "class_token", "ls1.gamma": "layer_scale", "ls2.gamma": "layer_scale"}
"""Tensors that a blueprint has when this member of it is true; the others it always has."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A prefix slice of every axis; axis 0 is first viewed as `groups` equal parts (q, k and v are three)."""

    groups: int
    keep: Shape  # entries kept on each axis, within a group on axis 0

    def __call__(self, array: Any) -> Any:
        """The slice of an array of any kind (numpy or torch), as a view where that is possible."""
        rows = array.shape[0] // self.groups
        parts = array.reshape(self.groups, rows, *array.shape[1:])
        parts = parts[(slice(None), *(slice(0, n) for n in self.keep))]
        return parts.reshape(self.groups * self.keep[0], *self.keep[1:])


@dataclass(frozen=True, slots=True)
class Target:
    """One tensor of a descendant: `sum of coefficient * cut(source)`, in this order."""

    name: str
    shape: Shape
    cut: Cut
    terms: tuple[tuple[str, float], ...]  # (source, coefficient)


@dataclass(frozen=True, slots=True)
class ExpansionPlan:
    """D for one size: every tensor of a descendant, in canonical order."""

    size: Size
    targets: tuple[Target, ...]

    @property
    def layout(self) -> Layout:
        """The names and shapes of the descendant."""
        return {target.name: target.shape for target in self.targets}


Kinds = tuple[tuple[str, tuple[str, ...]], ...]
"""Names of tensors, each with its axes."""


@dataclass(frozen=True, slots=True)
class _Form:
    """What a plan depends on, beside size and components."""

    stem: Kinds
    block: Kinds
    dims: tuple[tuple[str, int], ...]
    basis: Basis
    depth: int


def _kinds(blueprint: Blueprint, table: Mapping[str, tuple[str, ...]]) -> Kinds:
    return tuple(
        (name, axes) for name, axes in table.items() if name not in _ONLY_WITH or getattr(blueprint, _ONLY_WITH[name])
    )


def _form(blueprint: Blueprint, heads: int) -> _Form:
    d = blueprint.width(heads)
    dims = {
        "d": d,
        "3d": d,  # within one of the three groups
        "m": d * blueprint.mlp_ratio,
        "c": 3,
        "p": blueprint.patch,
        "t": blueprint.positions,
        "1": 1,
    }
    stem, block = _kinds(blueprint, _STEM), _kinds(blueprint, _BLOCK)
    return _Form(stem, block, tuple(dims.items()), blueprint.basis, blueprint.depth)


def _cut(axes: tuple[str, ...], dims: Mapping[str, int]) -> Cut:
    return Cut(3 if axes[0] == "3d" else 1, tuple(dims[axis] for axis in axes))


def _shape(cut: Cut) -> Shape:
    return (cut.groups * cut.keep[0], *cut.keep[1:])


def gene_layout(blueprint: Blueprint, components: int, heads: int | None = None) -> Layout:
    """Names and shapes of a gene with so many components, at full width or as the thin slice of the first heads.

    The stem comes first and then the components in order, so a gene of fewer components is a prefix of a longer one.
    """
    form = _form(blueprint, heads or blueprint.heads)
    dims = dict(form.dims)
    layout = {name: _shape(_cut(axes, dims)) for name, axes in form.stem}
    for n in range(components):
        layout.update({f"a{n}.{name}": _shape(_cut(axes, dims)) for name, axes in form.block})
    return layout


def place(basis: Basis, reference: int, layer: int, depth: int) -> tuple[int, int]:
    """Where on the curves a layer of a net of that depth lies: in the middle of which step, of how many (0-based)."""
    if basis == "dct-pick-v1":
        last = depth - 1
        return (2 * layer * (reference - 1) + last) // max(1, 2 * last), reference
    return layer, depth


def curve(n: int, step: int, steps: int) -> float:
    """c_n in the middle of that step of so many."""
    return 1.0 if n == 0 else math.sqrt(2.0) * math.cos(math.pi * n * (step + 0.5) / steps)


@lru_cache(maxsize=256)
def _plan(form: _Form, size: Size, components: int) -> ExpansionPlan:
    table = dict(form.dims)
    targets = []
    for name, axes in form.stem:
        cut = _cut(axes, table)
        targets.append(Target(name, _shape(cut), cut, ((name, 1.0),)))
    for layer in range(size.depth):
        step, steps = place(form.basis, form.depth, layer, size.depth)
        for name, axes in form.block:
            cut = _cut(axes, table)
            terms = tuple((f"a{n}.{name}", curve(n, step, steps)) for n in range(min(components, steps)))
            targets.append(Target(f"blocks.{layer}.{name}", _shape(cut), cut, terms))
    return ExpansionPlan(size, tuple(targets))


def plan(blueprint: Blueprint, size: Size, components: int) -> ExpansionPlan:
    """The plan of D for a gene with so many components (of full width, or thin but at least as wide as the size).

    Raises:
        InvalidInput: SIZE_OUTSIDE_BLUEPRINT.
    """
    blueprint.check(size)
    return _plan(_form(blueprint, size.heads), size, components)


def expand(the_plan: ExpansionPlan, gene: Mapping[str, Any]) -> dict[str, Any]:
    """Apply a plan to arrays of any kind: the weights of the descendant, by timm's names.

    The very same function runs on numpy (server, rebuild) and on torch (training, with gradients).
    """
    weights = {}
    for target in the_plan.targets:
        total: Any = None
        for source, coefficient in target.terms:
            part = target.cut(gene[source])
            part = part * coefficient if coefficient != 1.0 else part
            total = part if total is None else total + part
        weights[target.name] = total
    return weights


def project(blueprint: Blueprint, weights: Mapping[str, Any], components: int) -> dict[str, Any]:
    """The least-squares inverse of D at the reference size: exact when `components` equals the reference depth.

    The basis is orthonormal up to 1/L, so A_n = (1/L) sum_l c_n(l) W_l.
    """
    depth, form = blueprint.depth, _form(blueprint, blueprint.heads)
    gene = {name: weights[name] for name, _ in form.stem}
    for n in range(components):
        for name, _ in form.block:
            total: Any = None
            for layer in range(depth):
                part = weights[f"blocks.{layer}.{name}"] * (curve(n, layer, depth) / depth)
                total = part if total is None else total + part
            gene[f"a{n}.{name}"] = total
    return gene
