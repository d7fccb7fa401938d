"""Views of a picture, so that something can be left out where a class has a single image.

A view is the picture moved by two pixels, its border repeated. How well a head tells views of one class from another's
says little about how good a net is, since every net knows its own picture again; it says much about one that no longer
tells anything apart.
"""

from typing import Final

import numpy as np

from genepool_protocol.selection.pixels import Pixels
from genepool_protocol.selection.scoring import Labels

_STEP: Final = 2  # pixels
_MOVES: Final = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]


def spread(images: Pixels, labels: Labels) -> tuple[Pixels, Labels]:
    """Nine views of every image, shape (9 N, image, image, 3), and their labels: the same bytes everywhere."""
    edge = ((0, 0), (_STEP, _STEP), (_STEP, _STEP), (0, 0))
    padded = np.pad(images, edge, mode="edge")
    side = images.shape[1]
    starts = [(_STEP * (1 + down), _STEP * (1 + right)) for down, right in _MOVES]
    moved = [padded[:, row : row + side, column : column + side] for row, column in starts]
    return np.concatenate(moved), np.tile(labels, len(moved))
