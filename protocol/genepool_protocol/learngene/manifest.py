"""manifest.json: what a site states about a learngene and signs (SPEC.md section 4)."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from genepool_protocol.learngene import privacy
from genepool_protocol.learngene.blueprint import Basis, Blueprint
from genepool_protocol.learngene.expansion import Layout, gene_layout
from genepool_protocol.trust import strict_json
from genepool_protocol.wire.documents import Decimal, Document, License, Name, Sha256, Timestamp, first_problem
from genepool_protocol.wire.errors import InvalidInput
from genepool_protocol.wire.limits import LIMITS
from genepool_protocol.wire.versions import MANIFEST_SCHEMA

LEARNGENE_FILE = "learngene.safetensors"
MANIFEST_FILE = "manifest.json"
BUNDLE_FILE = "model.sig"
"""The signature beside what it signs, of a contribution and of a descendant alike."""
SUBJECT = "learngene"
"""Subject name of a contribution's statement."""

_Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_HALF = 2.0**-10  # relative, of a length in half precision
_ROUNDING = 1e-6  # relative, of a delta that two machines compute
_LAST_PLACE = 1.5e-9  # by which a sigma of nine places may exceed what its budget asks for
_RANGE = r"^(-?[0-9]{1,10}(\.[0-9]{1,9})?,-?[0-9]{1,10}(\.[0-9]{1,9})?)?$"  # what is black and what is white
_Count = Annotated[int, Field(ge=0, lt=1 << 53)]


class WeightsFile(Document):
    """The weights file."""

    name: Literal["learngene.safetensors"] = "learngene.safetensors"
    size: Annotated[int, Field(ge=1, lt=1 << 53)]  # bytes
    sha256: _Hex
    tensor_digest: _Hex  # equal for the same tensors under another header


class TensorRef(Document):
    """One tensor of the file, in file order."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}$")]
    dtype: Literal["F16", "F32"]
    shape: Annotated[list[Annotated[int, Field(ge=1, le=1 << 20)]], Field(max_length=4)]


class Observed(Document):
    """The checkpoint that the site last verified: gossip against a log that shows two faces."""

    size: _Count
    root: Annotated[str, Field(pattern=r"^([A-Za-z0-9+/]{43}=)?$")]  # base64, empty at size 0


class EmbeddingPrivacy(Document):
    """The mechanism that the domain embedding went through; its unit is one image exchanged for another."""

    mechanism: Literal["gaussian"] = "gaussian"
    unit: Literal["image"] = "image"
    epsilon: Decimal
    delta: Decimal
    clip: Decimal  # the blueprint's
    sigma: Decimal  # standard deviation of the noise on every number of the domain embedding
    cumulative_epsilon: Decimal  # of all domain embeddings ever drawn from the site's images, at this delta


class Privacy(Document):
    """What the site claims it did to protect its images; a claim, signed, and not proved."""

    mechanism: Literal["none"] = "none"  # of the weights
    key: EmbeddingPrivacy


class Training(Document):
    """Where the learngene comes from, in numbers that give no image away."""

    images: _Count
    classes: _Count
    ancestry_steps: _Count
    condense_steps: _Count
    software: Annotated[str, Field(max_length=64)]
    intensity: Annotated[str, Field(max_length=64, pattern=_RANGE)] = ""  # absent where no image was deeper than a byte

    @model_serializer(mode="wrap")
    def _absent_where_it_says_nothing(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        members: dict[str, Any] = serialize(self)
        return members if self.intensity else {name: members[name] for name in members if name != "intensity"}


class Manifest(Document):
    """The signed description of a contribution."""

    schema_: Literal["genepool.manifest/v1"] = Field(default=MANIFEST_SCHEMA, alias="schema")
    pool: Annotated[str, Field(max_length=255)]  # the log's origin: the audience
    site: Name
    seq: Annotated[int, Field(ge=1, lt=1 << 53)]
    prev: _Hex  # payload hash of the site's previous contribution, or zeros
    nonce: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$")]
    not_after: Timestamp
    observed: Observed
    blueprint: Sha256  # of the blueprint, which names the seed
    basis: Basis = "dct-v1"
    file: WeightsFile
    tensors: Annotated[list[TensorRef], Field(min_length=1, max_length=LIMITS.tensors)]
    training: Training
    privacy: Privacy
    license: License

    def canonical(self) -> bytes:
        """RFC 8785 bytes: the file's content."""
        return strict_json.canonical(self.model_dump(by_alias=True))


def parse_manifest(raw: bytes) -> Manifest:
    """The manifest in a file's bytes.

    Raises:
        InvalidInput: JSON_MALFORMED (not RFC 8785 bytes) or MANIFEST_MALFORMED.
    """
    value = strict_json.loads_canonical(raw, max_bytes=LIMITS.manifest_bytes, what="manifest")
    try:
        manifest = Manifest.model_validate(value)
    except ValidationError as exc:
        raise InvalidInput("MANIFEST_MALFORMED", f"the manifest is not valid: {first_problem(exc)}") from exc
    if manifest.canonical() != raw:  # a member with one allowed value must still be stated: it is what gets signed
        raise InvalidInput("MANIFEST_MALFORMED", "the manifest lacks a member, such as its schema")
    return manifest


def file_layout(blueprint: Blueprint) -> Layout:
    """Names and shapes of a learngene file: the gene of the blueprint's components, then its domain embedding."""
    width = blueprint.embedding_width
    return {**gene_layout(blueprint, blueprint.components), "key.mean": (width,)}


def check_privacy(manifest: Manifest, blueprint: Blueprint) -> None:
    """Refuse a claim that contradicts itself: the stated noise must be what epsilon and delta take, and no more.

    Raises:
        InvalidInput: PRIVACY_CLAIM, or IMAGES_TOO_FEW.
    """
    claim, images = manifest.privacy.key, manifest.training.images
    epsilon, delta, sigma, total = map(float, (claim.epsilon, claim.delta, claim.sigma, claim.cumulative_epsilon))

    def bad(why: str) -> InvalidInput:
        return InvalidInput("PRIVACY_CLAIM", f"the manifest's claim of privacy does not hold: {why}", "condense again")

    if claim.clip != blueprint.embedding_frame.clip:
        raise bad(f"domain embeddings of blueprint {blueprint.name} are clipped to {blueprint.embedding_frame.clip}")
    if images < LIMITS.site_images:
        raise too_few(images)
    if not (privacy.LEAST_DELTA <= delta < 1 and epsilon >= privacy.LEAST_EPSILON and sigma > 0):
        raise bad(f"epsilon is at least {privacy.LEAST_EPSILON:g}, delta between {privacy.LEAST_DELTA:g} and 1")
    if not 2 <= manifest.training.classes <= images:
        raise bad(f"{images} images cannot show {manifest.training.classes} classes, or only one")
    ratio = privacy.sensitivity(float(claim.clip), images) / sigma
    if privacy.delta_of(epsilon, ratio) > delta * (1 + _ROUNDING):
        raise bad(
            f"noise of {claim.sigma} on {images} images costs an epsilon of {privacy.epsilon_of(ratio, delta):.4g}"
        )
    least = privacy.sensitivity(float(claim.clip), images) / privacy.ratio_of(epsilon, delta)
    if sigma > least * (1 + _ROUNDING) + _LAST_PLACE:
        raise bad(f"noise of {claim.sigma} is more than the {least:.9f} that {images} images take")
    if total < epsilon:
        raise bad("all domain embeddings together cost less than this one")


def too_few(images: int) -> InvalidInput:
    """The refusal of a site with so few images: their noise would drown what the domain embedding says."""
    return InvalidInput(
        "IMAGES_TOO_FEW",
        f"a learngene is made from {LIMITS.site_images} images or more, and these are {images}",
        "add images, or join with another site",
    )


def check_spread(manifest: Manifest, blueprint: Blueprint, length: float) -> None:
    """Refuse a domain embedding whose length contradicts the noise that is claimed to be in it.

    The exact embedding is no longer than the clip, and what is added has a length that hardly varies: shorter than
    noise alone, or longer than noise and clip together, is one honest draw in `privacy.FALSE_REFUSALS`, at most.

    Args:
        manifest: with the claim.
        blueprint: the family.
        length: Euclidean norm of `key.mean` as it was sent.

    Raises:
        InvalidInput: EMBEDDING_SPREAD.
    """
    claim = manifest.privacy.key
    low, high = (
        float(claim.sigma) * math.sqrt(blueprint.embedding_width) * factor
        for factor in privacy.noise_lengths(blueprint.embedding_width)
    )
    if not low * (1 - _HALF) <= length <= (float(claim.clip) + high) * (1 + _HALF):
        raise InvalidInput(
            "EMBEDDING_SPREAD",
            f"key.mean has length {length:.4g}; with noise of {claim.sigma} it has {low:.4g} to "
            f"{float(claim.clip) + high:.4g}",
            "condense again, and state the noise that was drawn",
        )


def check_architecture(manifest: Manifest, blueprint: Blueprint) -> None:
    """Refuse a manifest whose tensors are not exactly the blueprint's, in order and in one dtype.

    Raises:
        InvalidInput: ARCH_MISMATCH, naming the first tensor that differs.
    """
    if manifest.blueprint != f"sha256:{blueprint.sha256}":
        raise InvalidInput("ARCH_MISMATCH", f"the manifest names another blueprint than {blueprint.name}")
    if manifest.basis != blueprint.basis:
        raise InvalidInput("ARCH_MISMATCH", f"the basis is {manifest.basis}, that of the blueprint {blueprint.basis}")
    stated = [(tensor.name, tuple(tensor.shape)) for tensor in manifest.tensors]
    expected = list(file_layout(blueprint).items())
    for have, want in zip(stated, expected, strict=False):
        if have != want:
            raise InvalidInput("ARCH_MISMATCH", f"tensor {have[0]} {have[1]} stands where {want[0]} {want[1]} must be")
    if len(stated) != len(expected):
        raise InvalidInput("ARCH_MISMATCH", f"there are {len(stated)} tensors, the blueprint has {len(expected)}")
    if len({tensor.dtype for tensor in manifest.tensors}) != 1:
        raise InvalidInput("ARCH_MISMATCH", "the tensors do not share one dtype")
