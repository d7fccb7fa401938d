"""The support set: a few images of the consumer's task, with or without labels, at the blueprint's size."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from genepool_client.pictures import datasets, images, walker
from genepool_client.pictures.intensity import Intensity
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.progress import Progress, silent
from genepool_protocol.selection.support import check_support
from genepool_protocol.wire.errors import InvalidInput
from genepool_protocol.wire.limits import LIMITS

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Support:
    """A support set that TALS accepts. Made by `load` and `of_arrays` only.

    Attributes:
        pixels: uint8, shape (N, image, image, 3).
        labels: int64 of shape (N,), indices into `classes`; None when it is unlabelled.
        classes: names in sorted order; empty when it is unlabelled.
        intensity: what was black and white in images deeper than a byte; None without such images.
    """

    pixels: Pixels = field(repr=False)
    labels: Labels | None = field(repr=False)
    classes: tuple[str, ...]
    intensity: Intensity | None = None

    @property
    def wire_labels(self) -> list[int]:
        """One label per image, or nothing."""
        return [] if self.labels is None else [int(label) for label in self.labels]

    def describe(self) -> str:
        """In words."""
        kinds = f"{len(self.classes)} classes" if self.classes else "no labels"
        return f"{len(self.pixels)} images, {kinds}"


def load(
    source: str | Path,
    blueprint: Blueprint,
    root: Path | None = None,
    progress: Progress = silent,
    *,
    groups: bool = False,
    intensity: str = "",
) -> Support:
    """A support set: a folder of class folders (labelled), a flat folder of images (unlabelled), or a timm data set.

    Args:
        source: the folder, or a name such as `torch/cifar10`.
        blueprint: gives the size in pixels.
        root: where a named data set lies.
        progress: called with (images read, images, note).
        groups: whether folders in a class folder are groups of its images.
        intensity: what is black and white in images deeper than a byte; see `pictures.intensity`.

    Raises:
        InvalidInput: SUPPORT_TOO_LARGE, SUPPORT_TOO_SMALL, SUPPORT_MALFORMED, or as `images.load_images`.
    """
    folder = Path(source)
    if folder.is_dir():
        _check_count(walker.count(folder, LIMITS.support_images + 1), str(folder))
        if not walker.folders(folder):
            return of_arrays(blueprint, images.load_unlabelled(folder, blueprint.image, progress, intensity=intensity))
    elif not datasets.is_name(str(source)):
        raise InvalidInput(
            "PATH_MISSING", f"there is no support folder {folder}", "check the path given as support set"
        )
    try:
        image_set = images.load_images(source, blueprint.image, root, progress, groups=groups, intensity=intensity)
    except InvalidInput as exc:
        raise _for_consumers(exc, folder) from exc
    support = of_arrays(blueprint, image_set.pixels, image_set.labels, image_set.classes)
    return replace(support, intensity=image_set.intensity)


def of_arrays(
    blueprint: Blueprint,
    pixels: Pixels,
    labels: npt.ArrayLike | None = None,
    classes: Sequence[str] | None = None,
) -> Support:
    """A support set of arrays.

    Args:
        blueprint: the family whose limits hold.
        pixels: uint8, shape (N, image, image, 3).
        labels: one per image, of any sortable kind; without `classes` they name their classes themselves.
        classes: names, when the labels are indices into them.

    Raises:
        InvalidInput: SUPPORT_MALFORMED, SUPPORT_TOO_LARGE, SUPPORT_TOO_SMALL or ONE_CLASS_ONLY.
    """
    pixels = np.asarray(pixels)
    if labels is None:
        check_support(blueprint, pixels, [])
        return Support(pixels, None, ())
    values, compact = np.unique(np.asarray(labels), return_inverse=True)
    names = [str(classes[int(value)]) if classes is not None else str(value) for value in values]
    checked = check_support(blueprint, pixels, compact.reshape(-1).tolist())
    if checked is None:
        raise InvalidInput(
            "SUPPORT_MALFORMED", "the list of labels is empty", "give one label per image, or none at all"
        )
    return Support(pixels, checked, tuple(names))


def _for_consumers(exc: InvalidInput, folder: Path) -> InvalidInput:
    if exc.reason != "ONE_CLASS_ONLY":
        return exc
    return InvalidInput(
        "ONE_CLASS_ONLY",
        f"the support set {folder} has one class folder",
        "give at least two, or put the images into the folder itself: then they are an unlabelled support set",
    )


def _check_count(count: int, source: str) -> None:
    if count > LIMITS.support_images:
        raise InvalidInput(
            "SUPPORT_TOO_LARGE",
            f"{source} holds more than {LIMITS.support_images} images",
            "a support set is small: put some images of each class into a folder of their own",
        )
