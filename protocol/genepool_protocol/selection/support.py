"""The support set as both sides take it: what is refused, and which images of a large one are looked at. No torch."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.wire.errors import InvalidInput
from genepool_protocol.wire.limits import LIMITS

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


def check_pixels(blueprint: Blueprint, pixels: Pixels) -> Pixels:
    """The pixels, if they are uint8 of shape (N, image, image, 3).

    Raises:
        InvalidInput: SUPPORT_MALFORMED.
    """
    shape = (blueprint.image, blueprint.image, 3)
    if pixels.dtype != np.uint8 or pixels.ndim != len(shape) + 1 or pixels.shape[1:] != shape or not len(pixels):
        raise InvalidInput(
            "SUPPORT_MALFORMED", f"images must be uint8 of {shape}, these are {pixels.dtype} {pixels.shape}"
        )
    return pixels


def check_support(blueprint: Blueprint, pixels: Pixels, labels: Sequence[int]) -> Labels | None:
    """The labels as an array, or None for an unlabelled support set.

    Raises:
        InvalidInput: SUPPORT_MALFORMED, SUPPORT_TOO_LARGE, SUPPORT_TOO_SMALL or ONE_CLASS_ONLY.
    """
    check_pixels(blueprint, pixels)
    if len(pixels) > LIMITS.support_images:
        raise InvalidInput("SUPPORT_TOO_LARGE", f"a support set has at most {LIMITS.support_images} images")
    if not len(labels):
        return None
    array = np.asarray(labels, dtype=np.int64)
    classes = np.unique(array)
    if len(array) != len(pixels) or array.min() < 0 or array.max() >= LIMITS.support_classes:
        raise InvalidInput("SUPPORT_MALFORMED", "there must be one label per image, from 0 on")
    if len(array) < 2:
        raise InvalidInput("SUPPORT_TOO_SMALL", "a labelled support set needs two images or more, of different classes")
    if len(classes) < 2 or len(classes) != array.max() + 1:
        raise InvalidInput("ONE_CLASS_ONLY", "a labelled support set needs at least two classes, numbered without gaps")
    return array


def looked_at(labels: Labels) -> Labels:
    """Which images stages B to D look at: the rule that bounds the work of a selection, the same on both sides.

    All of them up to `LIMITS.scored_images`. Of more, as many of each class as fit, at least two (else nothing could be
    left out), spread evenly over the class's images in their order.

    Args:
        labels: shape (N,).

    Returns:
        Sorted indices, at most N.
    """
    if len(labels) <= LIMITS.scored_images:
        return np.arange(len(labels))
    counts = np.bincount(labels)
    most = LIMITS.scored_images
    each = max(q for q in range(2, most + 1) if q == 2 or np.minimum(counts, q).sum() <= most)
    chosen = []
    for label, count in enumerate(counts.tolist()):
        taken = min(count, each)
        chosen.append(np.flatnonzero(labels == label)[np.arange(taken) * count // max(taken, 1)])
    return np.sort(np.concatenate(chosen))


def can_leave_out(labels: Labels) -> bool:
    """Whether leaving images out says anything: a class of a single image is gone when that is left out."""
    return len(labels) >= 2 * len(np.unique(labels))
