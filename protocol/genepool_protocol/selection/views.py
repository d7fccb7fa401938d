"""Views of a picture, so that something can be left out where a class has a single image.

A view is the picture turned, squeezed or slanted a little and bent in waves, as pictures of one class differ. How well
a head tells views of one class from another's says little about how good a net is, since every net knows its own
picture again; it says much about one that no longer tells anything apart.
"""

from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from genepool_protocol.selection.support import Labels, Pixels

Places = npt.NDArray[np.int64]
_UNIT: Final = 1024

WARPS: Final = (
    (1024, 0, 0, 1024),
    (994, -248, 248, 994),
    (994, 248, -248, 994),
    (1280, 0, 0, 1280),
    (819, 0, 0, 819),
    (1024, 307, 0, 1024),
    (1024, -307, 0, 1024),
    (1280, 0, 0, 870),
    (870, 0, 0, 1280),
)
"""Where a pixel of a view comes from, in 1/1024 of its place from the centre: right by right, right by down, down by
right, down by down. The picture itself, turned by 14 degrees either way, smaller, larger, slanted, squeezed."""

_WAVE: Final = np.array([0, 5, 7, 5, 0, -5, -7, -5])
_CREST: Final = 7 * 11  # what lies on a wave's crest moves by an eleventh of half the picture


def spread(images: Pixels, labels: Labels) -> tuple[Pixels, Labels]:
    """Nine views of every image, shape (9 N, image, image, 3), and their labels: the same bytes everywhere."""
    side = images.shape[1]
    views = [images, *(images[:, down, right] for down, right in map(partial(_sources, side), range(1, len(WARPS))))]
    return np.concatenate(views), np.tile(labels, len(views))


def _sources(side: int, view: int) -> tuple[Places, Places]:
    """The row and the column that each pixel of a view comes from, shape (side, side)."""
    place = 2 * np.arange(side) - (side - 1)  # from the centre, in half pixels
    down, right = np.meshgrid(place, place, indexing="ij")
    eighth = 8 * np.arange(side) // side  # one wave over the picture
    bent_right = side * _WAVE[(eighth[:, None] + view) % 8] // _CREST
    bent_down = side * _WAVE[(eighth[None, :] + 3 * view) % 8] // _CREST
    right_by_right, right_by_down, down_by_right, down_by_down = WARPS[view]
    from_right = (right_by_right * right + right_by_down * down) // _UNIT + bent_right
    from_down = (down_by_right * right + down_by_down * down) // _UNIT + bent_down
    row, column = (np.clip((half + side) // 2, 0, side - 1) for half in (from_down, from_right))
    return row, column
