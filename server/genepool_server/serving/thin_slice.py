"""Thin slices: what a private selection downloads of a short-listed learngene."""

from typing import Final

import numpy as np

from genepool_protocol.learngene import algebra, expansion, tensors
from genepool_protocol.selection import tals
from genepool_server.serving.library import Family, Library, StoredFile

_NAMES: Final = {dtype: name for name, dtype in tensors.DTYPES.items()}


def thin(family: Family, delta: algebra.Stored) -> dict[str, np.ndarray]:
    """The thin slice of a stored learngene, float32, by name: the first heads of the scoring size.

    Args:
        family: the blueprint.
        delta: the flat learngene as it lies in its file.
    """
    layout = expansion.gene_layout(family.blueprint, family.blueprint.components)
    return tals.thin(family.blueprint, algebra.views(layout, delta))  # type: ignore[arg-type]


def thin_file(library: Library, family: Family, ref: StoredFile) -> bytes:
    """The thin slice as a safetensors file, in the dtype that the learngene is stored in: nothing is rounded.

    Raises:
        StorageError: BLOB_CORRUPT.
    """
    delta = library.flat(ref, expansion.gene_layout(family.blueprint, family.blueprint.components))
    return tensors.encode(thin(family, delta), _NAMES[delta.dtype])
