"""The one door through which a key leaves a site: a Gaussian mechanism whose draws are kept and counted.

`keys.json` in the site's folder holds every key that was ever drawn from the site's images. The same images under the
same blueprint get the same draw again, however often they are trained on, condensed or submitted: a second look at the
noise would cost a second budget. Other images get a draw of their own, and what all draws add up to is stated in every
manifest. It is not in work/, so --fresh does not forget it.
"""

import math
import random
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from genepool_client.transport.durable import write_json
from genepool_protocol.learngene import privacy
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.manifest import KeyPrivacy, too_few
from genepool_protocol.selection.task_key import Key
from genepool_protocol.trust import strict_json
from genepool_protocol.trust.encoding import b64, unb64
from genepool_protocol.wire.documents import Decimal, Document, first_problem
from genepool_protocol.wire.errors import InvalidInput
from genepool_protocol.wire.limits import LIMITS

Mean = npt.NDArray[np.float64]

_DIGITS: Final = 9  # of the noise's deviation, rounded up
_TERMS: Final = 4


class Draw(Document):
    """One key that was drawn."""

    data: str  # digest of the images
    blueprint: str  # hex SHA-256
    images: Annotated[int, Field(ge=1, lt=1 << 53)]
    epsilon: Decimal
    delta: Decimal
    clip: Decimal
    sigma: Decimal  # standard deviation of the noise on each number of the key
    values: str  # the noised key: float32, little-endian, in base64

    def key(self) -> Key:
        """What may leave."""
        return Key(np.frombuffer(unb64(self.values, what="key"), dtype="<f4").astype(np.float32), float(self.sigma))

    def ratio(self) -> float:
        """Sensitivity over noise."""
        return privacy.sensitivity(float(self.clip), self.images) / float(self.sigma)


class Draws(Document):
    """keys.json."""

    schema_: Literal["genepool.keys/v1"] = Field(default="genepool.keys/v1", alias="schema")
    draws: list[Draw] = Field(default_factory=list)

    def of(self, blueprint: str, data: str) -> Draw | None:
        """The draw for images of this digest under the blueprint of that one."""
        wanted = (blueprint, data)
        return next((draw for draw in self.draws if (draw.blueprint, draw.data) == wanted), None)

    def claim(self, draw: Draw, spent: str = "0") -> KeyPrivacy:
        """What a manifest states of a draw.

        Args:
            draw: one of these.
            spent: an epsilon, at the draw's delta, that keys of these images cost before this folder was made.
        """
        delta = float(draw.delta)
        ratios = [one.ratio() for one in self.draws]
        if float(spent) > 0:
            ratios.append(privacy.ratio_of(float(spent), delta))
        total = privacy.epsilon_of(privacy.composed(ratios), delta)
        return KeyPrivacy(
            mechanism="gaussian",
            unit="image",
            epsilon=draw.epsilon,
            delta=draw.delta,
            clip=draw.clip,
            sigma=draw.sigma,
            cumulative_epsilon=_rounded_up(max(total, float(draw.epsilon), float(spent)), 4),
        )


def noised(mean: Mean, sigma: float) -> Key:
    """The key of an exact mean: Gaussian noise on every number, from the operating system's random bytes.

    The noise is a sum of several draws, so that the gaps between floating-point numbers, which could betray a single
    one (Mironov 2012), cannot be searched (Holohan and Braghin 2021).
    """
    draw = random.SystemRandom().gauss
    share = sigma / math.sqrt(_TERMS)
    noise = [sum(draw(0.0, share) for _ in range(_TERMS)) for _ in mean]
    return Key((mean + noise).astype(np.float32), sigma)


def release(path: Path, blueprint: Blueprint, exact: Mean, data: str, images: int, epsilon: str, delta: str) -> Draw:
    """The draw for these images: the one that was kept, or a first one, which is on the disk before it is returned.

    Args:
        path: keys.json.
        blueprint: the family.
        exact: the mean without noise, of features that the blueprint's clip bounds.
        data: digest of the images.
        images: how many there are; this number is public.
        epsilon: what a first draw may spend.
        delta: the same.

    Raises:
        InvalidInput: FILE_MALFORMED, keys.json is not what this module wrote; OPTION_INVALID, no such budget.
    """
    draws = read(path)
    found = draws.of(blueprint.sha256, data)
    if found is not None:
        return found
    clip = blueprint.key_frame.clip
    sigma = sigma_of(float(clip), images, epsilon, delta)
    values = b64(noised(exact, float(sigma)).mean.astype("<f4").tobytes())
    draw = Draw(
        data=data,
        blueprint=blueprint.sha256,
        images=images,
        epsilon=epsilon,
        delta=delta,
        clip=clip,
        sigma=sigma,
        values=values,
    )
    write_json(path, Draws(draws=[*draws.draws, draw]).model_dump(by_alias=True), 0o600)
    return draw


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
            f"a key cannot spend an epsilon of {epsilon[:20]} at a delta of {delta[:20]}",
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
            f"a key cannot spend an epsilon of {epsilon[:20]} at a delta of {delta[:20]}",
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
        return Draws.model_validate(value)
    except ValidationError as exc:
        raise InvalidInput(
            "FILE_MALFORMED", f"{path} is not valid: {first_problem(exc)}", "restore it from a backup; never delete it"
        ) from exc


def _rounded_up(value: float, digits: int) -> str:
    scale = 10**digits
    return f"{math.ceil(value * scale * (1 - 1e-12)) / scale:.{digits}f}".rstrip("0").rstrip(".")
