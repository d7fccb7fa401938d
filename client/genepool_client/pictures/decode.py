"""From one image file to the blueprint's square of RGB bytes, for every mode that Pillow reads."""

import warnings
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from genepool_protocol.pictures import NAMED, open_picture
from genepool_protocol.wire.errors import InvalidInput

Square = npt.NDArray[np.uint8]

_DEEP: Final = ("I", "I;16", "I;16L", "I;16B", "I;16N")


def decode(path: Path, size: int) -> Square:
    """The image's centre as (size, size, 3) bytes; only one full image is in memory at a time.

    Args:
        path: an image file; of an animation or a stack, the first page.
        size: pixels a side.

    Raises:
        InvalidInput: IMAGE_UNREADABLE, naming the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", category=UserWarning)  # remarks on metadata; the pixels count
            with open_picture(path) as image:
                image.draft(None, (2 * size, 2 * size))  # a JPEG decodes to no more than it must
                return square(ImageOps.exif_transpose(image), size)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as exc:
        limit = f"{Image.MAX_IMAGE_PIXELS or 0:,}"
        raise InvalidInput(
            "IMAGE_UNREADABLE", f"the image {path} has more than {limit} pixels", "cut it into smaller images"
        ) from exc
    except UnidentifiedImageError as exc:
        raise InvalidInput(
            "IMAGE_UNREADABLE",
            f"the image {path} is no {NAMED} file: its first bytes tell, not its name",
            "convert it to PNG yourself if you trust it, or take it out of the folder",
        ) from exc
    except MemoryError:
        raise
    except Exception as exc:  # decoders of damaged files raise anything
        raise InvalidInput(
            "IMAGE_UNREADABLE",
            f"the image {path} cannot be read ({type(exc).__name__}): it is damaged, cut off or no image",
            "repair it or take it out of the folder",
        ) from exc


def square(image: Image.Image, size: int) -> Square:
    """The largest centred square of an image, scaled with anti-aliased bicubic interpolation; (size, size, 3) bytes."""
    fitted = ImageOps.fit(to_rgb(image), (size, size), method=Image.Resampling.BICUBIC)
    return np.asarray(fitted, dtype=np.uint8)


def to_rgb(image: Image.Image) -> Image.Image:
    """The image in RGB: transparency lies on white, deep pixels are scaled to eight bits."""
    if image.mode in _DEEP:
        return Image.fromarray(_eight_bits(np.asarray(image).astype(np.int64))).convert("RGB")
    if image.mode == "F":
        return Image.fromarray(_from_float(np.asarray(image, dtype=np.float64))).convert("RGB")
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        return image if converted is None else converted
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _eight_bits(values: npt.NDArray[np.int64]) -> Square:
    # scanners write 10 or 12 bits into 16: the smallest depth that holds the brightest pixel is the image's depth
    depth = max(8, int(values.max()).bit_length())
    return (np.clip(values, 0, None) >> (depth - 8)).astype(np.uint8)


def _from_float(values: npt.NDArray[np.float64]) -> Square:
    if not np.isfinite(values).all():
        raise ValueError("a pixel is not a finite number")
    scale = 255.0 if values.max() <= 1.0 else 1.0
    return np.clip(np.rint(values * scale), 0, 255).astype(np.uint8)
