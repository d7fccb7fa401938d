"""Check 12: is it a learngene of a blueprint of this pool, of the size that this takes, with a claim that adds up?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from genepool_protocol.learngene.manifest import Manifest, check_architecture, check_privacy
from genepool_protocol.learngene.tensors import DTYPES
from genepool_protocol.wire.errors import InvalidInput, NotFound
from genepool_protocol.wire.limits import LIMITS
from genepool_server.admission.state import Current
from genepool_server.admission.statement import Claim
from genepool_server.records import LoadedBlueprint


@dataclass(frozen=True, slots=True)
class Fitting:
    """A claim whose tensors are those of one of the pool's blueprints."""

    claim: Claim
    blueprint: LoadedBlueprint


def check(current: Current, blueprints: Sequence[LoadedBlueprint]) -> Fitting:
    """Check 12.

    Raises:
        NotFound: BLUEPRINT_UNKNOWN.
        InvalidInput: ARCH_MISMATCH, PRIVACY_CLAIM or IMAGES_TOO_FEW.
    """
    manifest = current.claim.manifest
    for loaded in blueprints:
        if manifest.blueprint == f"sha256:{loaded.blueprint.sha256}":
            check_architecture(manifest, loaded.blueprint)
            _check_size(manifest)
            check_privacy(manifest, loaded.blueprint)
            return Fitting(current.claim, loaded)
    names = ", ".join(loaded.blueprint.name for loaded in blueprints)
    raise NotFound(
        "BLUEPRINT_UNKNOWN",
        "the manifest names a blueprint that this pool does not have",
        f"make a learngene of: {names}",
    )


def _check_size(manifest: Manifest) -> None:
    data = sum(math.prod(tensor.shape) * DTYPES[tensor.dtype].itemsize for tensor in manifest.tensors)
    head = manifest.file.size - data - 8
    if manifest.file.size > LIMITS.learngene_bytes or not 0 < head <= LIMITS.header_bytes or head % 8:
        raise InvalidInput(
            "ARCH_MISMATCH",
            f"a file of {manifest.file.size} bytes cannot hold exactly the {data} bytes of the stated tensors",
            "write it again with genepool",
        )
