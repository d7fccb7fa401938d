"""The descendant as bytes: a folder that stock timm loads, a function of blueprint, size, weights and learngenes."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import Field, ValidationError

from genepool_protocol.learngene import algebra, expansion, tensors
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.expansion import Layout
from genepool_protocol.learngene.manifest import BUNDLE_FILE
from genepool_protocol.learngene.size import Size
from genepool_protocol.trust import strict_json
from genepool_protocol.wire.documents import Document, License, Name, Printable, first_problem
from genepool_protocol.wire.errors import InvalidInput
from genepool_protocol.wire.limits import LIMITS
from genepool_protocol.wire.versions import DESCENDANT_PREDICATE

MODEL_FILE: Final = "model.safetensors"
CONFIG_FILE: Final = "config.json"
CARD_FILE: Final = "README.md"
PROVENANCE_FILE: Final = "provenance.json"
RECEIPTS_FILE: Final = "receipts.json"
BLUEPRINT_FILE: Final = "blueprint.json"
HEAD_FILE: Final = "head.safetensors"
"""Made where the labels are, so not part of what the pool signs."""

RECEIPTS_BYTES: Final = 32 << 20
"""Of receipts.json: LIMITS.members of the longest manifests and bundles with their log entries, in base64."""

SIGNED: Final = (CARD_FILE, BLUEPRINT_FILE, CONFIG_FILE, MODEL_FILE, PROVENANCE_FILE, RECEIPTS_FILE)
IGNORED: Final = (BUNDLE_FILE, HEAD_FILE)
SUBJECT: Final = "descendant"
INTERPOLATION: Final = "bicubic"
"""How images are brought to the blueprint's size, by us and by whoever reads config.json."""
_EARLIER_INTERPOLATION: Final = "bilinear"
TIMM_ARCHITECTURE: Final = "vit_tiny_patch16_224"
"""A registered timm ViT whose every dimension `model_args` overrides."""


def layout(blueprint: Blueprint, size: Size) -> Layout:
    """Names and shapes of model.safetensors: the plan's targets, then a zero head of one class, which timm wants."""
    body = expansion.plan(blueprint, size, blueprint.seed.components).layout
    return {**body, "head.weight": (1, blueprint.width(size.heads)), "head.bias": (1,)}


def model_header(blueprint: Blueprint, size: Size) -> bytes:
    """The safetensors header of model.safetensors: known before anything is combined."""
    return tensors.header_bytes(layout(blueprint, size), "F32")


def total_bytes(blueprint: Blueprint, size: Size) -> int:
    """Length of model.safetensors in bytes."""
    return len(model_header(blueprint, size)) + 4 * algebra.elements(layout(blueprint, size))


def build_into(
    blueprint: Blueprint,
    size: Size,
    seed: algebra.Flat,
    members: Sequence[tuple[int, algebra.Stored]],
    out: algebra.Flat,
) -> None:
    """Write the data section of model.safetensors into `out`, of `algebra.elements(layout(...))` values.

    D(G0) + D(sum of weight * delta), which is what SPEC.md section 8 fixes to the bit: the first part is the same for
    all descendants of a size, and the second one is short.

    Args:
        blueprint: the family.
        size: the descendant's size.
        seed: the seed gene, float32, in canonical order.
        members: (weight in thousandths, delta), sorted by contribution id: the order is part of the bytes.
        out: float32, written completely.
    """
    body = out[: blueprint.params(size)]
    whole = expansion.gene_layout(blueprint, blueprint.seed.components)
    algebra.expand_into(expansion.plan(blueprint, size, blueprint.seed.components), algebra.views(whole, seed), body)
    if members:
        layout = expansion.gene_layout(blueprint, blueprint.components)
        delta = algebra.combined(layout, members, np.empty(algebra.elements(layout), dtype=np.float32))
        algebra.expand_into(expansion.plan(blueprint, size, blueprint.components), delta, body, add=True)
    out[body.size :] = 0.0


def build(blueprint: Blueprint, size: Size, seed: algebra.Flat, members: Sequence[tuple[int, algebra.Stored]]) -> bytes:
    """model.safetensors as bytes; `build_into` with a buffer of its own."""
    out = np.empty(algebra.elements(layout(blueprint, size)), dtype=np.float32)
    build_into(blueprint, size, seed, members, out)
    return model_header(blueprint, size) + out.tobytes()


def model_args(blueprint: Blueprint, size: Size) -> dict[str, Any]:
    """What `timm.create_model(TIMM_ARCHITECTURE, **model_args)` needs to build the descendant's net."""
    arguments = {
        "img_size": blueprint.image,
        "patch_size": blueprint.patch,
        "embed_dim": blueprint.width(size.heads),
        "depth": size.depth,
        "num_heads": size.heads,
        "mlp_ratio": blueprint.mlp_ratio,
        "class_token": blueprint.class_token,
        "global_pool": blueprint.pooling,
        "fc_norm": False,
    }
    # the value is where timm starts a net of its own; that there is one makes it build LayerScale
    return arguments | {"init_values": 1e-5} if blueprint.layer_scale else arguments


def config_json(blueprint: Blueprint, size: Size, interpolation: str = INTERPOLATION) -> bytes:
    """The config.json of timm: architecture, model_args and pretrained_cfg."""
    side = blueprint.image
    return _pretty(
        {
            "architecture": TIMM_ARCHITECTURE,
            "num_classes": 1,
            "num_features": blueprint.width(size.heads),
            "global_pool": blueprint.pooling,
            "model_args": model_args(blueprint, size),
            "pretrained_cfg": {
                "num_classes": 1,
                "input_size": [3, side, side],
                "fixed_input_size": True,
                "interpolation": interpolation,
                "crop_pct": 1.0,
                "mean": [float(value) for value in blueprint.mean],
                "std": [float(value) for value in blueprint.std],
                "first_conv": "patch_embed.proj",
                "classifier": "head",
                "license": "see README.md",
            },
        }
    )


def is_config(raw: bytes, blueprint: Blueprint, size: Size) -> bool:
    """Whether this is the config.json of a descendant; earlier versions wrote another interpolation into it."""
    return raw in {config_json(blueprint, size, name) for name in (INTERPOLATION, _EARLIER_INTERPOLATION)}


def _pretty(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


class Dependency(Document):
    """One learngene that a descendant was made from."""

    contribution_id: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    site: Name
    license: License
    milli: int  # weight in thousandths
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # of learngene.safetensors
    log_index: Annotated[int, Field(ge=0)]


class Lineage(Document):
    """What provenance.json says, taken out of its SLSA frame."""

    blueprint: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    seed: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    depth: Annotated[int, Field(ge=1)]
    heads: Annotated[int, Field(ge=1)]
    model: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # of model.safetensors
    origin: Printable  # of the pool's log
    software: Printable
    dependencies: list[Dependency]

    @property
    def size(self) -> Size:
        """The descendant's size."""
        return Size(self.depth, self.heads)


def provenance_json(lineage: Lineage) -> bytes:
    """The lineage as an in-toto Statement v1 with SLSA provenance v1, RFC 8785 bytes."""
    resolved: list[dict[str, Any]] = [{"name": "seed", "digest": {"sha256": lineage.seed}}]
    for item in lineage.dependencies:
        annotations = {
            "contribution_id": item.contribution_id,
            "site": item.site,
            "license": item.license,
            "log_index": str(item.log_index),
            "weight": weight_text(item.milli),
        }
        resolved.append({"name": "learngene", "digest": {"sha256": item.sha256}, "annotations": annotations})
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": MODEL_FILE, "digest": {"sha256": lineage.model}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": DESCENDANT_PREDICATE,
                "externalParameters": {
                    "blueprint": {"sha256": lineage.blueprint},
                    "size": {"depth": lineage.depth, "heads": lineage.heads},
                },
                "resolvedDependencies": resolved,
            },
            "runDetails": {"builder": {"id": lineage.origin, "version": {"genepool": lineage.software}}},
        },
    }
    return strict_json.canonical(statement)


def parse_provenance(raw: bytes) -> Lineage:
    """The lineage of a provenance.json: refused unless writing it again gives the very same bytes.

    Raises:
        InvalidInput: JSON_MALFORMED or STATEMENT_MALFORMED.
    """
    value = strict_json.loads_canonical(raw, max_bytes=LIMITS.manifest_bytes, what="provenance")
    try:
        lineage = _lineage(value)
    except (KeyError, TypeError, IndexError, ValueError, AttributeError, ValidationError) as exc:
        why = first_problem(exc) if isinstance(exc, ValidationError) else type(exc).__name__
        raise InvalidInput("STATEMENT_MALFORMED", f"the provenance is not a descendant's: {why}") from exc
    if provenance_json(lineage) != raw:
        raise InvalidInput("STATEMENT_MALFORMED", "the provenance holds members that a descendant's does not have")
    return lineage


def _lineage(value: Any) -> Lineage:
    definition, run = value["predicate"]["buildDefinition"], value["predicate"]["runDetails"]
    seed, *learngenes = definition["resolvedDependencies"]
    dependencies = [
        Dependency(
            contribution_id=item["annotations"]["contribution_id"],
            site=item["annotations"]["site"],
            license=item["annotations"]["license"],
            milli=parse_weight(item["annotations"]["weight"]),
            sha256=item["digest"]["sha256"],
            log_index=int(item["annotations"]["log_index"]),
        )
        for item in learngenes
    ]
    parameters = definition["externalParameters"]
    return Lineage(
        blueprint=parameters["blueprint"]["sha256"],
        seed=seed["digest"]["sha256"],
        depth=parameters["size"]["depth"],
        heads=parameters["size"]["heads"],
        model=value["subject"][0]["digest"]["sha256"],
        origin=run["builder"]["id"],
        software=run["builder"]["version"]["genepool"],
        dependencies=dependencies,
    )


def weight_text(milli: int) -> str:
    """Thousandths as a decimal: 333 is `"0.333"`."""
    return f"{'-' if milli < 0 else ''}{abs(milli) // 1000}.{abs(milli) % 1000:03d}"


def parse_weight(text: str) -> int:
    """The inverse of `weight_text`.

    Raises:
        ValueError: not a decimal with three places.
    """
    milli = int(text.replace(".", ""))
    if weight_text(milli) != text:
        raise ValueError(text)
    return milli


class ReceiptEntry(Document):
    """The evidence for one dependency, as the site signed it and as the log proves it; bytes are base64."""

    contribution_id: str
    manifest: str
    receipt: str  # model.sig with tlogEntries
    site_key_pem: str


class Receipts(Document):
    """receipts.json: one entry per dependency, in the lineage's order."""

    schema_: Literal["genepool.receipts/v1"] = Field(default="genepool.receipts/v1", alias="schema")
    receipts: list[ReceiptEntry]

    def canonical(self) -> bytes:
        """RFC 8785 bytes."""
        return strict_json.canonical(self.model_dump(by_alias=True))


def parse_receipts(raw: bytes) -> Receipts:
    """The receipts of a folder.

    Raises:
        InvalidInput: JSON_MALFORMED or FILE_MALFORMED.
    """
    value = strict_json.loads_canonical(raw, max_bytes=RECEIPTS_BYTES, what="receipts")
    try:
        receipts = Receipts.model_validate(value)
    except ValidationError as exc:
        raise InvalidInput("FILE_MALFORMED", f"receipts.json is not valid: {first_problem(exc)}") from exc
    if receipts.canonical() != raw:
        raise InvalidInput("FILE_MALFORMED", "receipts.json lacks its schema")
    return receipts


def model_card(blueprint: Blueprint, lineage: Lineage) -> bytes:
    """README.md of the folder: what it is, who is to be credited, how to load and verify it."""
    rows = "\n".join(
        f"| {weight_text(item.milli)} | {item.site} | {item.license} | `{item.contribution_id[:16]}` |"
        for item in lineage.dependencies
    )
    table = f"| weight | site | licence | contribution |\n|---|---|---|---|\n{rows}\n" if rows else "The seed alone.\n"
    licenses = sorted({item.license for item in lineage.dependencies})
    return f"""---
library_name: timm
tags: [genepool, image-feature-extraction]
---

# Descendant {lineage.depth},{lineage.heads} of {blueprint.name}

A Vision Transformer with {blueprint.params(lineage.size):,} parameters ({lineage.depth} layers, {lineage.heads} heads
of {blueprint.head_dim}), initialized by the pool `{lineage.origin}` from these learngenes:

{table}
Licences of the contributions: {", ".join(licenses) or "none beyond the seed's"}.

    timm.create_model("local-dir:FOLDER", pretrained=True, num_classes=N)

Images are RGB, {blueprint.image} x {blueprint.image}. The head in model.safetensors is zero: train your own.
`genepool verify FOLDER` checks the pool's signature, the lineage and every receipt, offline.
""".encode()


def documents(blueprint: Blueprint, lineage: Lineage, receipts: Receipts) -> Mapping[str, bytes]:
    """Every signed file of the folder except model.safetensors."""
    return {
        CARD_FILE: model_card(blueprint, lineage),
        BLUEPRINT_FILE: blueprint.canonical(),
        CONFIG_FILE: config_json(blueprint, lineage.size),
        PROVENANCE_FILE: provenance_json(lineage),
        RECEIPTS_FILE: receipts.canonical(),
    }
