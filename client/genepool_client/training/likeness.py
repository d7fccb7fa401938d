"""Whether two sets of images are the same or nearly so, whatever their files, folders, labels and order are called."""

import hashlib
from typing import Final

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

_SIDE: Final = 4
PRINT: Final = _SIDE * _SIDE
"""Bytes of an image's print."""
_LUMA: Final = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_NEAR: Final = 5  # of 255 levels, in every pixel of two prints
_ASKED: Final = 1000  # images of a set that are looked for in another one


def digest_of(pixels: Pixels) -> str:
    """Hex SHA-256 of the sorted multiset of images: of the decoded pixels alone.

    Args:
        pixels: uint8, shape (N, size, size, 3).
    """
    head = f"genepool images {pixels.shape[1:]}\n".encode()
    every = sorted(hashlib.sha256(head + np.ascontiguousarray(image).tobytes()).digest() for image in pixels)
    return hashlib.sha256(head + b"".join(every)).hexdigest()


def prints_of(pixels: Pixels) -> Pixels:
    """A small grey picture of 4 by 4 pixels of each image, sorted: recompressing or rescaling an image hardly moves it.

    Args:
        pixels: uint8, shape (N, size, size, 3).

    Returns:
        uint8, shape (N, 16).
    """
    grey = pixels @ _LUMA  # what JPEG keeps best
    small = np.rint(_averaged(_averaged(grey, 1), 2)).astype(np.uint8).reshape(len(pixels), PRINT)
    return small[np.lexsort(small.T)]


def share(ours: Pixels, theirs: Pixels) -> float:
    """Which part of a set's images has one like it in another set; from a thousand of them where there are more.

    Args:
        ours: `prints_of` a set.
        theirs: of another one.
    """
    if not len(ours) or not len(theirs):
        return 0.0
    asked, others = ours[:: -(-len(ours) // _ASKED)].astype(np.int16), theirs.astype(np.int16)
    near = [bool((np.abs(others - image).max(axis=1) <= _NEAR).any()) for image in asked]
    return sum(near) / len(near)


def _averaged(values: npt.NDArray[np.float32], axis: int) -> npt.NDArray[np.float32]:
    """Means of four nearly equal parts of an axis; parts of a shorter axis repeat."""
    size = values.shape[axis]
    edges = [(part * size // _SIDE, max(part * size // _SIDE + 1, (part + 1) * size // _SIDE)) for part in range(_SIDE)]
    return np.stack([values.take(range(*edge), axis=axis).mean(axis=axis) for edge in edges], axis=axis)
