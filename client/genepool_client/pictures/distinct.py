"""Which images of a set are pictures of their own: privacy is counted in pictures, and a held-out copy is no test.

The rule: two images are one picture when, at the blueprint's size, their pixels differ by at most half a grey level on
average. That holds for copies and links, for a picture that was saved again without loss or rescaled at a much larger
size; it holds for no two of the 5,982 images of the sample pack. Other versions of a picture, a JPEG of it,
count as pictures.
"""

from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from genepool_client.pictures.images import ImageSet, image_set

Pixels = npt.NDArray[np.uint8]

NEAR: Final = 0.5
"""Mean absolute difference, in levels of 255, up to which two images are one picture."""

_MARGIN: Final = NEAR + 1e-3  # for the rounding of sums

_CELLS: Final = 8


def distinct(images: ImageSet) -> ImageSet:
    """The set without further copies of a picture; the first of each stays, and a note counts the others.

    Args:
        images: in the order of their paths.
    """
    kept = first_of_each(images.pixels)
    if len(kept) == len(images.labels):
        return images
    copies = len(images.labels) - len(kept)
    fewer = image_set(images.pixels[kept], images.labels[kept], images.classes)
    left_out = f"{copies} of {len(images.labels)} images are copies of others and were left out"
    groups = None if images.groups is None else images.groups[kept]
    return replace(fewer, notes=(*images.notes, left_out), groups=groups, intensity=images.intensity)


def first_of_each(pixels: Pixels) -> npt.NDArray[np.int64]:
    """Indices of the images that are no copy of an earlier one, in order.

    Args:
        pixels: uint8, shape (N, size, size, 3).
    """
    cells = _cells(pixels)
    means = cells.sum(axis=1)
    order = np.argsort(means, kind="stable")
    ranks = means[order]
    copies = np.zeros(len(pixels), dtype=bool)
    # a picture's copy has nearly its mean, and nearly its means in each cell: few are left to compare in full
    for index in range(len(pixels)):
        low, high = np.searchsorted(ranks, [means[index] - _MARGIN, means[index] + _MARGIN])
        others = order[low:high]
        others = others[(others < index) & ~copies[others]]
        others = others[np.abs(cells[others] - cells[index]).sum(axis=1) <= _MARGIN]
        copies[index] = any(_one_picture(pixels[other], pixels[index]) for other in others)
    return np.flatnonzero(~copies)


def _one_picture(first: Pixels, second: Pixels) -> bool:
    return float(np.abs(first.astype(np.int16) - second).mean()) <= NEAR


def _cells(pixels: Pixels) -> npt.NDArray[np.float32]:
    """What each cell of a grid adds to an image's mean level, by colour; shape (N, numbers)."""
    edges = np.arange(0, pixels.shape[1], max(1, pixels.shape[1] // _CELLS))
    sums = [np.add.reduceat(np.add.reduceat(image.astype(np.int32), edges, axis=0), edges, axis=1) for image in pixels]
    parts: npt.NDArray[np.float32] = (np.stack(sums).reshape(len(pixels), -1) / pixels[0].size).astype(np.float32)
    return parts
