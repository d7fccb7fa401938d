"""From a condensed learngene to the three files that leave a site: values in, bytes out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from genepool_protocol.learngene import manifest as documents
from genepool_protocol.learngene import tensors
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.expansion import Layout
from genepool_protocol.learngene.manifest import Manifest, Observed, Privacy, TensorRef, Training, WeightsFile
from genepool_protocol.trust import digest, envelope, receipt, statement
from genepool_protocol.trust.checkpoint import Checkpoint
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.wire.documents import first_problem
from genepool_protocol.wire.errors import InvalidInput
from genepool_protocol.wire.limits import LIMITS

DTYPE: Final = "F16"


@dataclass(frozen=True, slots=True)
class Chain:
    """Where a contribution stands: the pool's nonce, and the site's place in its own chain.

    Attributes:
        pool: the log's origin, so that the artefact is worth nothing elsewhere.
        site: the contributor.
        seq: one more than the site's last accepted one.
        prev: payload hash of that, or `FIRST`.
        nonce: from the pool.
        not_after: when the nonce ends.
        observed: the checkpoint that the site last verified.
    """

    pool: str
    site: str
    seq: int
    prev: str
    nonce: str
    not_after: datetime
    observed: Checkpoint | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the manifest says of the training and of the terms of use."""

    training: Training
    privacy: Privacy
    license: str


@dataclass(frozen=True, slots=True)
class SignedArtefact:
    """manifest.json and model.sig; the contribution's id is the hash of the signed statement."""

    manifest: bytes
    bundle: bytes
    contribution_id: str


def software() -> str:
    """What manifests name as their maker."""
    return f"genepool {version('genepool')}"


def encode(blueprint: Blueprint, gene: Mapping[str, npt.NDArray[np.float32]]) -> bytes:
    """learngene.safetensors: the tensors of the blueprint in order, in half precision.

    Raises:
        InvalidInput: ARCH_MISMATCH, a tensor is missing or has another shape; NON_FINITE, half precision cannot.
    """
    layout = documents.file_layout(blueprint)
    _check(layout, gene)
    with np.errstate(over="ignore"):
        halves = {name: gene[name].astype(tensors.DTYPES[DTYPE]) for name in layout}
    for name, half in halves.items():
        if not np.isfinite(half).all():
            raise InvalidInput(
                "NON_FINITE",
                f"tensor {name} holds values that half precision cannot",
                "train again with fewer steps or a lower learning rate",
            )
    return tensors.encode(halves, DTYPE)


def _check(layout: Layout, gene: Mapping[str, npt.NDArray[np.float32]]) -> None:
    for name, shape in layout.items():
        if name not in gene or gene[name].shape != shape:
            present = gene[name].shape if name in gene else "no tensor"
            raise InvalidInput(
                "ARCH_MISMATCH", f"the learngene has {present} where {name} {shape} must be", "condense again"
            )
    if len(gene) != len(layout):
        raise InvalidInput(
            "ARCH_MISMATCH", "the learngene has tensors that the blueprint does not name", "condense again"
        )


def describe(weights: Path) -> WeightsFile:
    """What the manifest says of a learngene file.

    Raises:
        InvalidInput: FILE_MALFORMED or SAFETENSORS_MALFORMED.
    """
    opened = tensors.TensorFile(weights, LIMITS.learngene_bytes)
    return WeightsFile(
        size=weights.stat().st_size, sha256=digest.sha256_file(weights), tensor_digest=opened.tensor_digest()
    )


def sign(blueprint: Blueprint, file: WeightsFile, chain: Chain, facts: Facts, key: SigningKey) -> SignedArtefact:
    """The manifest and the signature over a learngene file; the same arguments give the same bytes.

    Args:
        blueprint: the family.
        file: learngene.safetensors, from `describe`.
        chain: where it stands.
        facts: what to say about it.
        key: the site's.

    Raises:
        InvalidInput: MANIFEST_MALFORMED, a fact is not of the manifest's form (a licence that is no SPDX id).
    """
    size, root = receipt.observed_root(chain.observed)
    layout = documents.file_layout(blueprint)
    values: dict[str, Any] = {
        "pool": chain.pool,
        "site": chain.site,
        "seq": chain.seq,
        "prev": chain.prev,
        "nonce": chain.nonce,
        "not_after": chain.not_after.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "observed": Observed(size=size, root=root),
        "blueprint": f"sha256:{blueprint.sha256}",
        "basis": blueprint.basis,
        "file": file,
        "tensors": [TensorRef(name=name, dtype=DTYPE, shape=list(shape)) for name, shape in layout.items()],
        "training": facts.training,
        "privacy": facts.privacy,
        "license": facts.license,
    }
    try:
        text = Manifest(**values).canonical()
    except ValidationError as exc:
        raise InvalidInput("MANIFEST_MALFORMED", f"the manifest would not be valid: {first_problem(exc)}") from exc
    payload = statement.model_statement(
        documents.SUBJECT,
        {documents.LEARNGENE_FILE: file.sha256, documents.MANIFEST_FILE: digest.sha256_hex(text)},
        ignore=[documents.BUNDLE_FILE],
    )
    return SignedArtefact(text, envelope.sign_statement(key, payload), digest.sha256_hex(payload))
