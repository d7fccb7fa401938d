"""Checks 14 to 16: the bytes themselves, streamed or mapped, in bounded memory and without a tensor framework."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from genepool_protocol.learngene.expansion import gene_layout
from genepool_protocol.learngene.manifest import Manifest, check_spread
from genepool_protocol.learngene.tensors import TensorFile
from genepool_protocol.trust import digest
from genepool_protocol.wire.errors import InvalidInput, Refused
from genepool_protocol.wire.limits import LIMITS
from genepool_server.admission.architecture import Fitting
from genepool_server.admission.statement import Claim
from genepool_server.records import LoadedBlueprint

MAX_RELATIVE_NORM: Final = 2.0
"""Largest norm of a learngene, as a multiple of the seed's over the same tensors. An honest difference from the seed is
shorter than the seed; one that is longer drowns every other member of a combination."""

MAX_VALUE: Final = 1e3
"""Largest absolute value. Trained weights are below 100; a single huge one can hide in a modest norm of many."""

_F16_INFINITY: Final = 0x7C00
"""Bits of a float16 from which on it is infinite or not a number."""

_BLOCK: Final = 64 << 10
"""Elements that are looked at together: they fit into a core's cache."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A claim whose weights are the bytes at `path`, and passed every check that needs only them and the seed."""

    claim: Claim
    blueprint: LoadedBlueprint
    path: Path


def check(fitting: Fitting, path: Path) -> Sound:
    """Checks 14 to 16, but for duplicates, which only the pool's ledger can see.

    Args:
        fitting: what was claimed.
        path: the uploaded file, which nobody writes to any more.

    Raises:
        InvalidInput: DIGEST_MISMATCH, SAFETENSORS_MALFORMED, ARCH_MISMATCH, NON_FINITE, NORM_BOUND or EMBEDDING_SPREAD.
    """
    inspect(fitting.claim.manifest, fitting.blueprint, path)
    return Sound(fitting.claim, fitting.blueprint, path)


def inspect(manifest: Manifest, loaded: LoadedBlueprint, path: Path) -> None:
    """The same of what was claimed in parts, as it is sent to another process.

    Raises:
        InvalidInput: as `check`.
    """
    check_bytes(manifest, path)
    file = check_header(manifest, path)
    check_values(loaded, file)
    check_spread(manifest, loaded.blueprint, _norm("key.mean", file.array("key.mean")))
    if file.tensor_digest() != manifest.file.tensor_digest:
        raise InvalidInput(
            "DIGEST_MISMATCH", "the tensors do not have the tensor_digest of the manifest", "pack it again"
        )


def check_bytes(manifest: Manifest, path: Path) -> None:
    """Check 14: size and SHA-256.

    Raises:
        InvalidInput: DIGEST_MISMATCH.
    """
    if path.stat().st_size != manifest.file.size or digest.sha256_file(path) != manifest.file.sha256:
        raise InvalidInput(
            "DIGEST_MISMATCH", f"the uploaded {manifest.file.name} is not the file that was signed", "upload it again"
        )


def check_header(manifest: Manifest, path: Path) -> TensorFile:
    """Check 15: a strict header that says what the manifest says.

    Raises:
        InvalidInput: SAFETENSORS_MALFORMED or ARCH_MISMATCH.
    """
    file = TensorFile(path, LIMITS.learngene_bytes)
    tensors = [(name, tensor.dtype, tensor.shape) for name, tensor in file.header.tensors.items()]
    if tensors != [(tensor.name, tensor.dtype, tuple(tensor.shape)) for tensor in manifest.tensors]:
        raise InvalidInput("ARCH_MISMATCH", "the file holds other tensors than the manifest says", "pack it again")
    return file


def check_values(loaded: LoadedBlueprint, file: TensorFile) -> None:
    """Check 16: finite, bounded values, and no longer than the seed allows.

    Raises:
        InvalidInput: NON_FINITE, naming the tensor, or NORM_BOUND.
    """
    layout = gene_layout(loaded.blueprint, loaded.blueprint.components)
    norms = {name: _norm(name, file.array(name)) for name in file.header.tensors}
    norm = sum(norms[name] ** 2 for name in layout) ** 0.5
    limit = MAX_RELATIVE_NORM * _seed_norm(loaded.seed_path, tuple(layout))
    if norm > limit:
        raise InvalidInput(
            "NORM_BOUND",
            f"the learngene has norm {norm:.4g}, at most {limit:.4g} is allowed ({MAX_RELATIVE_NORM:g} x the seed's)",
            "train less far from the seed",
        )


@lru_cache(maxsize=64)
def _seed_norm(path: Path, names: tuple[str, ...]) -> float:
    seed = TensorFile(path)
    return float(sum(_norm(name, seed.array(name)) ** 2 for name in names) ** 0.5)


def _norm(name: str, array: npt.NDArray[Any]) -> float:
    flat, total = array.reshape(-1), 0.0
    with np.errstate(all="ignore"):  # a signalling NaN may warn
        for start in range(0, flat.size, _BLOCK):
            block = _magnitudes(flat[start : start + _BLOCK])
            largest = float(block.max())  # NaN when there is one
            if not np.isfinite(largest):
                raise InvalidInput("NON_FINITE", f"the tensor {name} holds a value that is not finite", "train again")
            if largest > MAX_VALUE:
                raise InvalidInput(
                    "NORM_BOUND",
                    f"the tensor {name} holds a value beyond {MAX_VALUE:g}",
                    "train less far from the seed",
                )
            total += float(np.dot(block, block))
    return float(total**0.5)


def _magnitudes(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Absolute values as float32; for float16 by its bits, which is several times as fast as numpy's conversion."""
    if values.dtype != np.float16:
        return np.absolute(values.astype(np.float32))
    bits = values.view(np.uint16) & np.uint16(0x7FFF)
    if bits.max() >= _F16_INFINITY:
        return np.absolute(values.astype(np.float32))
    # exponent and mantissa at their places in a float32, whose exponent is biased by 112 more
    wide = (bits.astype(np.uint32) << np.uint32(13)).view(np.float32)
    return np.multiply(wide, np.float32(2.0**112), out=wide)


def duplicate() -> Refused:
    """The refusal of weights that the pool holds already."""
    return Refused(
        "DUPLICATE_WEIGHTS", "the pool holds a contribution with these very weights", "contribute what was trained anew"
    )
