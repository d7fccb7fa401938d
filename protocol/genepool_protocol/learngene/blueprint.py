"""A blueprint fixes an architecture family and names the seed learngene by digest.

The family is the pre-norm ViT of timm's `VisionTransformer`: constant head dimension, MLP hidden width proportional to
the model width, learned position table; with or without class token and LayerScale, so that published nets fit.
"""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator

from genepool_protocol.learngene.size import Budget, Size, sizes
from genepool_protocol.trust import digest, strict_json
from genepool_protocol.wire.documents import Decimal, Document, Name, Sha256, first_problem
from genepool_protocol.wire.errors import InvalidInput, NotFound
from genepool_protocol.wire.limits import LIMITS
from genepool_protocol.wire.versions import BLUEPRINT_SCHEMA

_LEAST_SCALE: Final = 1e-6  # a feature that never varies divides nothing by zero
_TENSORS_PER_LAYER: Final = 12  # and two of LayerScale
_OTHER_TENSORS: Final = 7  # stem, last norm and head; and a class token
_TENSOR_HEADER: Final = 128  # bytes that a tensor's entry in a safetensors header has at most


class SeedRef(Document):
    """Which file the seed learngene is."""

    sha256: Sha256
    size: Annotated[int, Field(ge=1, le=LIMITS.seed_bytes)]  # bytes
    components: Annotated[int, Field(ge=1, le=64)]


class SizeRef(Document):
    """A size inside a document."""

    depth: Annotated[int, Field(ge=1, le=256)]
    heads: Annotated[int, Field(ge=1, le=64)]

    def size(self) -> Size:
        """The same as a value."""
        return Size(self.depth, self.heads)


Basis = Literal["dct-v1", "dct-pick-v1"]
"""How layers of a depth are made of components; `expansion` defines both."""


class MeasuredSize(Document):
    """A size, what it costs, and what it is worth: a row of the table that budgets are answered from."""

    depth: Annotated[int, Field(ge=1, le=256)]
    heads: Annotated[int, Field(ge=1, le=64)]
    params: Annotated[int, Field(ge=1, lt=1 << 53)]  # without a head
    bytes: Annotated[int, Field(ge=1, lt=1 << 53)]  # that no model.safetensors of this size exceeds
    score: Decimal  # mean few-shot accuracy of the seed alone

    def size(self) -> Size:
        """The same as a value."""
        return Size(self.depth, self.heads)


class EmbeddingSpace(Document):
    """How the features of an image become its part of an embedding: centred, scaled, folded, clipped to a length."""

    centre: Annotated[
        list[Decimal], Field(min_length=1, max_length=1 << 14)
    ]  # one for each feature of the embedding size
    scale: Annotated[list[Decimal], Field(min_length=1, max_length=1 << 14)]
    width: Annotated[int, Field(ge=1, le=1 << 14)]  # numbers of a domain embedding; features are a multiple of it
    clip: Decimal  # the largest Euclidean length


@dataclass(frozen=True, slots=True)
class EmbeddingFrame:
    """An `EmbeddingSpace` to compute with."""

    centre: tuple[float, ...]
    scale: tuple[float, ...]
    width: int
    clip: str  # a decimal, as manifests repeat it


class Blueprint(Document):
    """The architecture family of one pool's learngenes (SPEC.md section 2).

    `key` and `key_space` are the names that embeddings have in stored JSON.
    """

    schema_: Literal["genepool.blueprint/v1"] = Field(default=BLUEPRINT_SCHEMA, alias="schema")
    name: Name
    basis: Basis = "dct-v1"
    image: Annotated[int, Field(ge=8, le=1024)]  # pixels a side, RGB
    patch: Annotated[int, Field(ge=1, le=64)]  # pixels a side
    head_dim: Annotated[int, Field(ge=8, le=256)]
    heads: Annotated[int, Field(ge=1, le=64)]  # at full width
    narrowest: Annotated[int, Field(ge=1, le=64)] = 1  # heads of the narrowest descendant
    mlp_ratio: Annotated[int, Field(ge=1, le=8)]
    depth: Annotated[int, Field(ge=1, le=256)]  # of an ancestry model: the reference depth
    depths: Annotated[list[int], Field(min_length=2, max_length=2)]  # of descendants, inclusive
    components: Annotated[int, Field(ge=1, le=16)]  # of a learngene
    class_token: bool = False
    layer_scale: bool = False
    pooling: Literal["avg", "token"] = "avg"  # of the last norm's output: the mean of the patches, or the class token
    norm_eps: Literal["1e-6"] = "1e-6"  # what timm builds: a descendant's config.json cannot state another
    mean: Annotated[list[Decimal], Field(min_length=3, max_length=3)]  # of pixels in 0..1
    std: Annotated[list[Decimal], Field(min_length=3, max_length=3)]
    key: SizeRef  # the size under which domain embeddings are computed
    score: SizeRef  # the size at which TALS scores
    seed: SeedRef
    key_space: EmbeddingSpace | None = None
    measured: Annotated[list[MeasuredSize], Field(alias="sizes", max_length=1024, default_factory=list)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        low, high = self.depths
        inner = (self.key, self.score)
        problems = [
            (self.image % self.patch != 0, "image is not a multiple of patch"),
            (not 1 <= low <= self.depth <= high, "depth lies outside depths"),
            (self._tensors(high) > LIMITS.tensors, f"{high} layers have more than {LIMITS.tensors} tensors"),
            (self.components > self.seed.components, "a learngene has more components than the seed"),
            (self.narrowest > self.heads, "the narrowest descendant is wider than the model"),
            (
                any(not self.narrowest <= ref.heads <= self.heads for ref in inner),
                "the width of key or score lies outside",
            ),
            (self.pooling == "token" and not self.class_token, "there is no class token to pool"),
            (self.basis == "dct-pick-v1" and high > self.depth, "layers cannot be picked beyond the depth"),
            (any(not low <= ref.depth <= high for ref in inner), "the depth of key or score lies outside depths"),
            (any(float(value) <= 0 for value in self.std), "std is not positive"),
            (
                not self._sound_embedding_space(),
                "key_space does not fit the key size, its width divides no features, or scale or clip is not positive",
            ),
            (self.measured and not self._sound_table(), "sizes are not sorted, or not what they cost"),
        ]
        for bad, why in problems:
            if bad:
                raise ValueError(why)
        return self

    @property
    def reference(self) -> Size:
        """The size of an ancestry model."""
        return Size(self.depth, self.heads)

    @property
    def tokens(self) -> int:
        """Number of patches of an image."""
        return (self.image // self.patch) ** 2

    @property
    def positions(self) -> int:
        """Rows of the position table: the class token's, where there is one, and one for each patch."""
        return self.tokens + self.class_token

    def width(self, heads: int) -> int:
        """The model width of so many heads."""
        return heads * self.head_dim

    def sizes(self) -> list[Size]:
        """Every size that descends, the smallest first."""
        return list(sizes((self.depths[0], self.depths[1]), (self.narrowest, self.heads)))

    def check(self, size: Size) -> Size:
        """The size, if the blueprint has it.

        Raises:
            InvalidInput: SIZE_OUTSIDE_BLUEPRINT.
        """
        low, high = self.depths
        if not (low <= size.depth <= high and self.narrowest <= size.heads <= self.heads):
            raise InvalidInput(
                "SIZE_OUTSIDE_BLUEPRINT",
                f"the size {size} lies outside blueprint {self.name}",
                f"choose a depth from {low} to {high} and {self.narrowest} to {self.heads} heads",
            )
        return size

    def params(self, size: Size) -> int:
        """Parameters of a descendant of that size, without a head."""
        d, m = self.width(size.heads), self.width(size.heads) * self.mlp_ratio
        block = 4 * d + 3 * d * d + 3 * d + d * d + d + 2 * d * m + m + d + 2 * d * self.layer_scale
        return size.depth * block + d * (3 * self.patch**2 + 1 + self.class_token + self.positions + 2)

    def most_bytes(self, size: Size) -> int:
        """An upper bound of the bytes of a descendant's model.safetensors: values, a zero head of one class, header."""
        head = self.width(size.heads) + 1
        return 4 * (self.params(size) + head) + _TENSOR_HEADER * self._tensors(size.depth)

    def resolve(self, budget: Budget) -> Size:
        """The size a budget asks for: of the measured ones that fit, the best; of two as good, the smaller.

        Without a table of measured sizes it is the one with the most parameters (the wider one when two are equal).

        Raises:
            InvalidInput: SIZE_OUTSIDE_BLUEPRINT or BUDGET_TOO_SMALL.
        """
        if budget.size is not None:
            return self.check(budget.size)
        scores = {row.size(): float(row.score) for row in self.measured}
        known = list(scores) or self.sizes()
        if budget.max_params is not None:
            fitting = [s for s in known if self.params(s) <= budget.max_params]
        else:
            fitting = [s for s in known if self.most_bytes(s) <= (budget.max_bytes or 0)]
        if not fitting:
            smallest = min(known, key=self.params)
            raise InvalidInput(
                "BUDGET_TOO_SMALL",
                f"no size of blueprint {self.name} fits the budget",
                f"the smallest descendant ({smallest}) has {self.params(smallest):,} parameters "
                f"and at most {self.most_bytes(smallest):,} bytes",
            )
        if scores:
            return max(fitting, key=lambda s: (scores[s], -self.params(s), s.heads))
        return max(fitting, key=lambda s: (self.params(s), s.heads))

    def _tensors(self, depth: int) -> int:
        return (_TENSORS_PER_LAYER + 2 * self.layer_scale) * depth + _OTHER_TENSORS + self.class_token

    @property
    def embedding_frame(self) -> EmbeddingFrame:
        """How embeddings are scaled; without `key_space` features stay as they are, no longer than a layer norm's."""
        width, space = self.width(self.key.heads), self.key_space
        if space is None:
            return EmbeddingFrame((0.0,) * width, (1.0,) * width, width, f"{width**0.5:.6f}")
        return EmbeddingFrame(tuple(map(float, space.centre)), tuple(map(float, space.scale)), space.width, space.clip)

    @property
    def embedding_width(self) -> int:
        """Numbers of a domain embedding."""
        return self.embedding_frame.width

    def _sound_embedding_space(self) -> bool:
        frame, width = self.embedding_frame, self.width(self.key.heads)
        return (
            len(frame.centre) == len(frame.scale) == width
            and width % frame.width == 0
            and min(frame.scale) >= _LEAST_SCALE
            and float(frame.clip) >= _LEAST_SCALE
        )

    def _sound_table(self) -> bool:
        rows = [row.size() for row in self.measured]
        return rows == sorted(set(rows)) and all(
            row.size() in self.sizes()
            and (row.params, row.bytes) == (self.params(row.size()), self.most_bytes(row.size()))
            for row in self.measured
        )

    def canonical(self) -> bytes:
        """RFC 8785 bytes: what is hashed, stored and sent."""
        return strict_json.canonical(self.model_dump(by_alias=True))

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the canonical bytes."""
        return digest.sha256_hex(self.canonical())


def parse_blueprint(raw: bytes) -> Blueprint:
    """The blueprint in canonical bytes.

    Raises:
        InvalidInput: JSON_MALFORMED or BLUEPRINT_MALFORMED.
    """
    value = strict_json.loads_canonical(raw, max_bytes=LIMITS.manifest_bytes, what="blueprint")
    try:
        blueprint = Blueprint.model_validate(value)
    except ValidationError as exc:
        raise InvalidInput("BLUEPRINT_MALFORMED", f"the blueprint is not valid: {first_problem(exc)}") from exc
    if blueprint.canonical() != raw:  # or its digest would not be that of the bytes
        raise InvalidInput("BLUEPRINT_MALFORMED", "the blueprint lacks a member, such as its schema")
    return blueprint


def bundled_folder(name: str) -> Path:
    """The folder of a blueprint that ships inside the package: `blueprint.json`, and `seed.safetensors` if it is small.

    Raises:
        NotFound: BLUEPRINT_UNKNOWN.
    """
    root = Path(str(resources.files("genepool_protocol.learngene"))) / "blueprints"
    names = sorted(path.name for path in root.iterdir() if (path / "blueprint.json").is_file())
    if name not in names:
        raise NotFound("BLUEPRINT_UNKNOWN", f"there is no blueprint {name!r}", f"choose one of: {', '.join(names)}")
    return root / name


def blueprint_folder(name: str) -> Path:
    """The folder that is named: one with a `blueprint.json`, else that of a bundled blueprint.

    Raises:
        NotFound: BLUEPRINT_UNKNOWN.
    """
    path = Path(name)
    return path if (path / "blueprint.json").is_file() else bundled_folder(name)
