"""What is black and what is white where pixels are deeper than a byte: one range for all images of a set.

Unsigned pixels (16-bit PNG, PNM and TIFF) have the depth of the set: from 0 to the largest number of as many bits as
the brightest pixel of all needs, since scanners write 10 or 12 bits into 16. Floats from 0 to 1 are what they seem.
Signed numbers (Hounsfield units) and other floats say nothing of themselves: the range is given, or asked to be
measured, and else refused.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np
import numpy.typing as npt

from genepool_protocol.wire.errors import InvalidInput

if TYPE_CHECKING:
    from PIL import Image

MEASURED: Final = "measured"
"""Asks for the range from the smallest to the largest pixel of the set."""

_DEEP: Final = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")
"""Pillow's modes of pixels that are deeper than a byte."""
_SAMPLE_FORMAT: Final = 339  # TIFF 6.0, section 19
_SIGNED: Final = 2
_LARGEST: Final = 1e10
"""What no end of a range reaches; 32 bits are less than half of it."""


@dataclass(frozen=True, slots=True)
class Intensity:
    """A range of pixels, of which the lower end is black and the upper one white."""

    low: float
    high: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """The range in `LOW,HIGH`.

        Raises:
            InvalidInput: OPTION_INVALID.
        """
        try:
            low, high = map(float, text.split(","))
        except ValueError:
            low = high = math.nan
        if not _told_apart(low, high):
            raise InvalidInput(
                "OPTION_INVALID",
                f"{text[:40]!r} is no range of intensities",
                f"write LOW,HIGH, for instance -1024,3071, or {MEASURED}",
            )
        return cls(low, high)

    def __str__(self) -> str:
        return f"{_decimal(self.low)},{_decimal(self.high)}"

    def eight_bits(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
        """The pixels as bytes; what lies outside of the range is black or white."""
        scaled = (values - self.low) * (255 / (self.high - self.low))
        return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Extremes:
    """What deep pixels reach from and to, and whether they are plain unsigned numbers."""

    low: float
    high: float
    unsigned: bool


def is_deep(image: "Image.Image") -> bool:
    """Whether an image's pixels are deeper than a byte."""
    return image.mode in _DEEP


def extremes(image: "Image.Image") -> Extremes:
    """The extremes of a deep image.

    Raises:
        ValueError: a pixel is not a finite number.
    """
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("a pixel is not a finite number")
    stated = getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT, ())
    signed = _SIGNED in (stated if isinstance(stated, tuple) else (stated,))
    return Extremes(low, high, unsigned=image.mode != "F" and low >= 0 and not signed)


def _told_apart(low: float, high: float) -> bool:
    """Whether two numbers are a range, and can be written down as one."""
    return -_LARGEST < low < high < _LARGEST and _decimal(low) != _decimal(high)


def _decimal(value: float) -> str:
    """A number of at most nine places, without an exponent: as a manifest has it."""
    return f"{value + 0.0:.9f}".rstrip("0").rstrip(".")  # + 0.0: there is no minus zero


def settled(parts: Iterable[Extremes], asked: str, where: str) -> Intensity | None:
    """The range of a set; None when no image of it is deep.

    Args:
        parts: the extremes of each deep image.
        asked: `LOW,HIGH`, `MEASURED`, or empty.
        where: the set, for the sentence.

    Raises:
        InvalidInput: OPTION_INVALID; INTENSITY_UNKNOWN, the pixels do not say it and nobody else did.
    """
    given = Intensity.parse(asked) if asked not in {"", MEASURED} else None
    deep = list(parts)
    if given is not None or not deep:
        return given if deep else None
    low, high = min(part.low for part in deep), max(part.high for part in deep)
    if asked == MEASURED and _told_apart(low, high):
        return Intensity(low, high)
    if all(part.unsigned for part in deep):
        return Intensity(0, 2 ** max(8, int(high).bit_length()) - 1)
    if not any(part.unsigned for part in deep) and low >= 0 and high <= 1:
        return Intensity(0, 1)
    raise InvalidInput(
        "INTENSITY_UNKNOWN",
        f"the pixels of {where} are numbers from {low:.9g} to {high:.9g}, and nothing says what is black and white",
        f"say --intensity LOW,HIGH (of Hounsfield units: -1024,3071), or take these with --intensity {MEASURED}",
    )
