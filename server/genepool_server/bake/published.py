"""A seed from a published checkpoint: the net itself, exact at the reference size.

The same weights give the same bytes on every machine, so that a blueprint can name the seed by its digest: sums are
float64 in a fixed order, their coefficients are rounded to float32 first.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from genepool_protocol.learngene import expansion
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.wire.errors import InvalidInput

Arrays = Mapping[str, npt.NDArray[np.float32]]


def read_weights(path: Path) -> Arrays:
    """The weights of a published net by timm's names, from an .npz (`lab/data/extract_dinov2.py` makes one).

    Raises:
        InvalidInput: FILE_MALFORMED.
    """
    try:
        with np.load(path) as saved:
            return {name: np.asarray(saved[name], dtype=np.float32) for name in saved.files}
    except (OSError, EOFError, ValueError, AttributeError) as exc:
        raise InvalidInput(
            "FILE_MALFORMED", f"{path} holds no weights by name", "make it with lab/data/extract_dinov2.py"
        ) from exc


def gene_of(blueprint: Blueprint, weights: Arrays) -> dict[str, npt.NDArray[np.float32]]:
    """The gene that expands to a published net at the reference size, float32, in the order of its layout.

    Args:
        blueprint: has as many components as layers.
        weights: by timm's names; a position table of another resolution is resampled.

    Raises:
        InvalidInput: ARCH_MISMATCH, the net is not of the blueprint's family.
    """
    layout = expansion.plan(blueprint, blueprint.reference, blueprint.seed.components).layout
    fitted = {**weights, "pos_embed": _positions(blueprint, weights.get("pos_embed", np.empty((0, 0, 0), np.float32)))}
    for name in sorted({*layout, *fitted}):
        have, want = fitted[name].shape if name in fitted else "missing", layout.get(name, "not in the blueprint")
        if have != want:
            raise InvalidInput("ARCH_MISMATCH", f"{name} is {have}, in blueprint {blueprint.name} it is {want}")
    wide = {name: _Rounded(array) for name, array in fitted.items()}
    projected = expansion.project(blueprint, wide, blueprint.seed.components)
    names = expansion.gene_layout(blueprint, blueprint.seed.components)
    return {name: projected[name].values.astype(np.float32) for name in names}


class _Rounded:
    """A float64 array whose factors are rounded to float32, in which every product with a float32 is exact."""

    def __init__(self, values: npt.NDArray[np.floating]) -> None:
        self.values = values.astype(np.float64)

    def __mul__(self, factor: float) -> "_Rounded":
        return _Rounded(self.values * float(np.float32(factor)))

    def __add__(self, other: "_Rounded") -> "_Rounded":
        return _Rounded(self.values + other.values)


def _positions(blueprint: Blueprint, table: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A position table at the blueprint's resolution; what is no square of patches is returned as it is."""
    prefix, new = int(blueprint.class_token), blueprint.image // blueprint.patch
    old = math.isqrt(max(0, table.shape[1] - prefix)) if table.ndim == 3 else 0
    if old == new or old**2 + prefix != table.shape[1]:
        return table
    grid = table[0, prefix:].reshape(old, old, -1).astype(np.float64)
    rows = _resample(_resample(grid, old, new).swapaxes(0, 1), old, new).swapaxes(0, 1)
    return np.concatenate([table[:, :prefix], rows.reshape(1, new * new, -1).astype(np.float32)], axis=1)


def _resample(grid: npt.NDArray[np.float64], old: int, new: int) -> npt.NDArray[np.float64]:
    """The first axis, from `old` to `new` rows, as timm does it: bicubic, antialiased."""
    identity = torch.eye(old, dtype=torch.float64)[None, None]
    matrix = F.interpolate(identity, size=(new, old), mode="bicubic", antialias=True, align_corners=False)[0, 0].float()
    total = np.zeros((new, *grid.shape[1:]))
    for row in range(old):
        total += matrix[:, row].double().numpy()[:, None, None] * grid[row]
    return total
