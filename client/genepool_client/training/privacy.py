"""The one door through which a domain embedding leaves a site: a Gaussian mechanism whose draws are kept and counted.

`keys.json` in the site's folder holds every embedding that was ever drawn from the site's images. The same images under
the same blueprint get the same draw again, however often they are trained on, condensed or submitted, and whatever
their files, classes and labels are called: a second look at the noise would cost a second budget. Other images get a
draw of their own, also when a single one was added or all were recompressed; how many of them went into an earlier
embedding is told, and what all draws add up to is stated in every manifest, as if each image were in all of them. It is
not in work/, so --fresh does not forget it. Another site folder knows nothing of this one: it is a second budget.
"""

import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from genepool_client.pictures.images import ImageSet
from genepool_client.training import likeness
from genepool_client.transport.durable import write_json
from genepool_protocol.learngene import privacy
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.embedding import Embedding
from genepool_protocol.learngene.manifest import EmbeddingPrivacy, too_few
from genepool_protocol.trust import strict_json
from genepool_protocol.trust.encoding import b64, unb64
from genepool_protocol.wire.documents import Decimal, Document, first_problem
from genepool_protocol.wire.errors import InvalidInput
from genepool_protocol.wire.limits import LIMITS

Mean = npt.NDArray[np.float64]

_DIGITS: Final = 9  # of the noise's deviation, rounded up
_TERMS: Final = 4
_TOLD: Final = 0.2  # a share of like images below it is chance: letters of one alphabet look alike
_BEFORE: Final = "genepool.keys/v1"

TWO_FOLDERS: Final = (
    "two site folders with the same images are two budgets: say what the other one spent as key_spent in site.json"
)
"""For whoever sets up a site or draws a domain embedding."""


class Draw(Document):
    """One domain embedding that was drawn."""

    data: str = ""  # `likeness.digest_of` the images; empty where an earlier version drew and they were not seen since
    ordered: str = ""  # the digest of an earlier version, which labels and names went into
    prints: str = ""  # `likeness.prints_of` them, in base64; they stay here
    blueprint: str  # hex SHA-256
    images: Annotated[int, Field(ge=1, lt=1 << 53)]
    epsilon: Decimal
    delta: Decimal
    clip: Decimal
    sigma: Decimal  # standard deviation of the noise on each number of the domain embedding
    values: str  # the noised domain embedding: float32, little-endian, in base64

    def embedding(self) -> Embedding:
        """What may leave; keys.json, where it is kept, has the first name of domain embeddings."""
        return Embedding(
            np.frombuffer(unb64(self.values, what="key"), dtype="<f4").astype(np.float32), float(self.sigma)
        )

    def seen(self) -> likeness.Pixels:
        """The prints, shape (N, 16); none where an earlier version drew."""
        raw = unb64(self.prints, what="prints") if self.prints else b""
        return np.frombuffer(raw[: len(raw) - len(raw) % likeness.PRINT], np.uint8).reshape(-1, likeness.PRINT)

    def like(self, other: "Draw") -> float | None:
        """Which part of its images, or images like them, went into another draw; None when nobody knows any more."""
        ours, theirs = (draw.seen() for draw in (self, other))
        return likeness.share(ours, theirs) if len(ours) and len(theirs) else None

    def ratio(self) -> float:
        """Sensitivity over noise."""
        return privacy.sensitivity(float(self.clip), self.images) / float(self.sigma)


class Draws(Document):
    """keys.json."""

    schema_: Literal["genepool.keys/v2"] = Field(default="genepool.keys/v2", alias="schema")
    draws: list[Draw] = Field(default_factory=list)

    def of(self, blueprint: str, data: str, ordered: str = "") -> Draw | None:
        """The draw for these images under the blueprint of that digest.

        Args:
            blueprint: hex SHA-256.
            data: `likeness.digest_of` them.
            ordered: `ImageSet.digest`, which an earlier version knew them by.
        """
        own = [draw for draw in self.draws if draw.blueprint == blueprint]
        same = [draw for draw in own if data and draw.data == data]
        return next(iter(same or [draw for draw in own if ordered and draw.ordered == ordered]), None)

    def claim(self, draw: Draw, spent: str = "0") -> EmbeddingPrivacy:
        """What a manifest states of a draw.

        Args:
            draw: one of these.
            spent: an epsilon, at the draw's delta, that embeddings of these images cost before this folder was made.
        """
        delta = float(draw.delta)
        ratios = [release.ratio() for release in self.draws]
        if float(spent) > 0:
            ratios.append(privacy.ratio_of(float(spent), delta))
        total = privacy.epsilon_of(privacy.composed(ratios), delta)
        return EmbeddingPrivacy(
            mechanism="gaussian",
            unit="image",
            epsilon=draw.epsilon,
            delta=draw.delta,
            clip=draw.clip,
            sigma=draw.sigma,
            cumulative_epsilon=_rounded_up(max(total, float(draw.epsilon), float(spent)), 4),
        )


@dataclass(frozen=True, slots=True)
class Told:
    """A draw beside the others.

    Attributes:
        images: how many went into it.
        epsilon: its own.
        delta: of both epsilons.
        cumulative: the epsilon of all draws of the folder together, as the manifest states it.
        like: the largest part of its images that, or whose like, went into one earlier draw.
        unknown: earlier draws that it cannot be compared with.
    """

    images: int
    epsilon: str
    delta: str
    cumulative: str
    like: float
    unknown: int

    def lines(self) -> list[str]:
        """The same in words."""
        first = f"domain embedding: epsilon {self.epsilon} at delta {self.delta} for each of {self.images} images"
        if self.cumulative != self.epsilon:
            first += f"; all domain embeddings of this folder together {self.cumulative}, which the manifest states"
        like = (
            f"{self.like:.0%} of these images, or images like them, went into an earlier embedding: they pay for both"
        )
        old = f"{self.unknown} earlier embeddings are of an older version and cannot be compared: their cost is added"
        return [first, *([like] if self.like >= _TOLD else []), *([old] if self.unknown else []), TWO_FOLDERS]


def noised(mean: Mean, sigma: float) -> Embedding:
    """The domain embedding of an exact mean: Gaussian noise on every number, from the operating system's random bytes.

    The noise is a sum of several draws, so that the gaps between floating-point numbers, which could betray a single
    one (Mironov 2012), cannot be searched (Holohan and Braghin 2021).
    """
    draw = random.SystemRandom().gauss
    share = sigma / math.sqrt(_TERMS)
    noise = [sum(draw(0.0, share) for _ in range(_TERMS)) for _ in mean]
    return Embedding((mean + noise).astype(np.float32), sigma)


def release(path: Path, blueprint: Blueprint, exact: Mean, images: ImageSet, epsilon: str, delta: str) -> Draw:
    """The draw for these images: the one that was kept, or a first one, which is on the disk before it is returned.

    Args:
        path: keys.json.
        blueprint: the family.
        exact: the mean without noise, of features that the blueprint's clip bounds.
        images: what it is the mean of; how many there are is public.
        epsilon: what a first draw may spend.
        delta: the same.

    Raises:
        InvalidInput: FILE_MALFORMED, keys.json is not what this module wrote; OPTION_INVALID, no such budget.
    """
    draws, data = read(path), likeness.digest_of(images.pixels)
    prints = b64(likeness.prints_of(images.pixels).tobytes())
    earlier = draws.of(blueprint.sha256, data, images.digest)
    if earlier is not None:
        known = earlier.model_copy(update={"data": data, "prints": prints})
        if known != earlier:  # an earlier version drew it
            _write(path, [known if draw == earlier else draw for draw in draws.draws])
        return known
    clip, count = blueprint.embedding_frame.clip, len(images.labels)
    sigma = sigma_of(float(clip), count, epsilon, delta)
    values = b64(noised(exact, float(sigma)).mean.astype("<f4").tobytes())
    draw = Draw(
        data=data,
        prints=prints,
        blueprint=blueprint.sha256,
        images=count,
        epsilon=epsilon,
        delta=delta,
        clip=clip,
        sigma=sigma,
        values=values,
    )
    _write(path, [*draws.draws, draw])
    return draw


def told(draws: Draws, draw: Draw, spent: str) -> Told:
    """What a person should know of a draw.

    Args:
        draws: all of keys.json.
        draw: one of them.
        spent: as `Draws.claim` takes it.
    """
    claim = draws.claim(draw, spent)
    earlier = draws.draws[: draws.draws.index(draw)]
    shares = [share for share in map(draw.like, earlier) if share is not None]
    unknown = sum(draw.like(before) is None for before in earlier)
    return Told(draw.images, draw.epsilon, draw.delta, claim.cumulative_epsilon, max(shares, default=0.0), unknown)


def sigma_of(clip: float, images: int, epsilon: str, delta: str) -> str:
    """The noise's standard deviation that a budget takes, as a decimal that is not too small.

    Raises:
        InvalidInput: OPTION_INVALID.
    """
    try:
        ratio = privacy.ratio_of(float(epsilon), float(delta))
    except ValueError as exc:
        raise InvalidInput(
            "OPTION_INVALID",
            f"a domain embedding cannot spend an epsilon of {epsilon[:20]} at a delta of {delta[:20]}",
            "epsilon is positive, delta between 0 and 1; for instance 1 and 1e-6",
        ) from exc
    return _rounded_up(privacy.sensitivity(clip, images) / ratio, _DIGITS)


def check_budget(images: int, epsilon: str, delta: str) -> None:
    """Refuse, before anything is trained, what no pool takes: too few images, or a budget of almost nothing.

    Raises:
        InvalidInput: IMAGES_TOO_FEW or OPTION_INVALID.
    """
    if images < LIMITS.site_images:
        raise too_few(images)
    if not (float(epsilon) >= privacy.LEAST_EPSILON and privacy.LEAST_DELTA <= float(delta) < 1):
        raise InvalidInput(
            "OPTION_INVALID",
            f"a domain embedding cannot spend an epsilon of {epsilon[:20]} at a delta of {delta[:20]}",
            f"epsilon is at least {privacy.LEAST_EPSILON:g}, delta {privacy.LEAST_DELTA:g}; for instance 1 and 1e-6",
        )


def read(path: Path) -> Draws:
    """What keys.json holds; nothing while it is not there.

    Raises:
        InvalidInput: FILE_MALFORMED.
    """
    if not path.exists():
        return Draws()
    value = strict_json.loads(path.read_bytes(), max_bytes=LIMITS.learngene_bytes, what=str(path))
    try:
        if isinstance(value, dict) and value.get("schema") == _BEFORE:
            value = _from_v1(value)
        return Draws.model_validate(value)
    except ValidationError as exc:
        raise InvalidInput(
            "FILE_MALFORMED", f"{path} is not valid: {first_problem(exc)}", "restore it from a backup; never delete it"
        ) from exc


def _from_v1(value: dict[str, Any]) -> dict[str, Any]:
    """An earlier version's list: its digests are of pixels, labels and names in their order."""
    old = value.get("draws")
    if not isinstance(old, list) or not all(isinstance(draw, dict) and "data" in draw for draw in old):
        return value
    draws = [{**draw, "data": "", "ordered": draw["data"]} for draw in old]
    return {**value, "schema": Draws.model_fields["schema_"].default, "draws": draws}


def _write(path: Path, draws: list[Draw]) -> None:
    write_json(path, Draws(draws=draws).model_dump(by_alias=True))


def _rounded_up(value: float, digits: int) -> str:
    scale = 10**digits
    return f"{math.ceil(value * scale * (1 - 1e-12)) / scale:.{digits}f}".rstrip("0").rstrip(".")
