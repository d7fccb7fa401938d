"""From one image file to the blueprint's square of RGB bytes, for every mode that Pillow reads."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from genepool_client.pictures.intensity import Extremes, Intensity, extremes, is_deep, settled
from genepool_protocol.pictures import NAMED, open_picture
from genepool_protocol.wire.errors import InvalidInput

Square = npt.NDArray[np.uint8]


def decode(path: Path, size: int, intensity: Intensity | None = None) -> Square:
    """The image's centre as (size, size, 3) bytes; only one full image is in memory at a time.

    Args:
        path: an image file; of an animation or a stack, the first page.
        size: pixels a side.
        intensity: of the set that a deep image belongs to; None: it is a set by itself.

    Raises:
        InvalidInput: IMAGE_UNREADABLE, naming the file, or INTENSITY_UNKNOWN.
    """
    with _opened(path) as image:
        image.draft(None, (2 * size, 2 * size))  # a JPEG decodes to no more than it must
        if intensity is None and is_deep(image):
            intensity = settled([extremes(image)], "", str(path))  # before turning: a copy lacks the file's tags
        return square(ImageOps.exif_transpose(image), size, intensity)


def deep_extremes(path: Path) -> Extremes | None:
    """What the pixels of an image reach from and to when they are deeper than a byte; None when they are bytes.

    Raises:
        InvalidInput: IMAGE_UNREADABLE, naming the file.
    """
    with _opened(path) as image:
        return extremes(image) if is_deep(image) else None


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image file; what Pillow raises about it is told in sentences."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", category=UserWarning)  # remarks on metadata; the pixels count
            with open_picture(path) as image:
                yield image
    except (InvalidInput, MemoryError):
        raise
    except Exception as exc:  # decoders of damaged files raise anything
        raise InvalidInput("IMAGE_UNREADABLE", *_why(path, exc)) from exc


def _why(path: Path, exc: Exception) -> tuple[str, str]:
    """What is wrong with an image, and how to mend it."""
    if isinstance(exc, Image.DecompressionBombWarning | Image.DecompressionBombError):
        limit = f"{Image.MAX_IMAGE_PIXELS or 0:,}"
        return f"the image {path} has more than {limit} pixels", "cut it into smaller images"
    if isinstance(exc, UnidentifiedImageError):
        kind = f"the image {path} is no {NAMED} file: its first bytes tell, not its name"
        return kind, "convert it to PNG yourself if you trust it, or take it out of the folder"
    if isinstance(exc, FileNotFoundError):
        return f"the image {path} is not there any more", "give a folder that nothing changes meanwhile"
    if isinstance(exc, PermissionError):
        return f"the image {path} may not be read by this user", "let this user read it, or take it out of the folder"
    if isinstance(exc, OSError) and exc.errno:
        return (
            f"the image {path} cannot be read ({os.strerror(exc.errno).lower()})",
            "look after the disk that it is on",
        )
    damaged = f"the image {path} cannot be read ({type(exc).__name__}): it is damaged, cut off or no image"
    return damaged, "repair it or take it out of the folder"


def square(image: Image.Image, size: int, intensity: Intensity | None = None) -> Square:
    """The largest centred square of an image, scaled with anti-aliased bicubic interpolation; (size, size, 3) bytes.

    Raises:
        InvalidInput: INTENSITY_UNKNOWN.
    """
    fitted = ImageOps.fit(to_rgb(image, intensity), (size, size), method=Image.Resampling.BICUBIC)
    return np.asarray(fitted, dtype=np.uint8)


def to_rgb(image: Image.Image, intensity: Intensity | None = None) -> Image.Image:
    """The image in RGB: transparency lies on white, deep pixels are scaled to eight bits.

    Raises:
        InvalidInput: INTENSITY_UNKNOWN.
    """
    if is_deep(image):
        span = intensity or settled([extremes(image)], "", "an image")
        if span is not None:
            return Image.fromarray(span.eight_bits(np.asarray(image, dtype=np.float64))).convert("RGB")
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        return image if converted is None else converted
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")
