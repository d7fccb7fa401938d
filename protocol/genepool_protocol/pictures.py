"""The one door to Pillow's decoders: only plain raster formats, by the file's first bytes and never by its name.

Pillow tries every decoder that it has, and some start a program: a `.png` that is EPS starts Ghostscript.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from os import PathLike
from typing import IO, Final

from PIL import Image

FORMATS: Final = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")
"""Pillow's names of what is decoded: the formats of torchvision's IMG_EXTENSIONS."""

NAMED: Final = "JPEG, PNG, PNM, BMP, TIFF or WebP"
"""The same, for a sentence."""


def open_picture(source: str | PathLike[str] | IO[bytes]) -> Image.Image:
    """An image of one of `FORMATS`, not decoded yet.

    Raises:
        PIL.UnidentifiedImageError: it is none; no other decoder has looked at it.
        OSError: the file cannot be read.
    """
    return Image.open(source, formats=FORMATS)  # noqa: TID251 - here is the list


@contextmanager
def only_these() -> Iterator[None]:
    """Within the block, other libraries' calls of `PIL.Image.open` have no other decoder either; for one thread."""
    before = Image.open  # noqa: TID251 - here it is replaced
    Image.open = partial(before, formats=FORMATS)  # noqa: TID251
    try:
        yield
    finally:
        Image.open = before  # noqa: TID251
