"""Images for training and for support sets: a folder of class folders (`walker`), or a data set that timm knows."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from genepool_client.pictures import datasets, walker
from genepool_client.pictures.decode import decode, deep_extremes
from genepool_client.pictures.intensity import Intensity, settled
from genepool_protocol.progress import Progress
from genepool_protocol.wire.errors import InvalidInput


def _ignore(_done: int, _total: int, _note: str) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Labelled images in memory, at the blueprint's size.

    Attributes:
        pixels: uint8, shape (N, size, size, 3).
        labels: int64, shape (N,); indices into `classes`.
        classes: names in sorted order.
        digest: hex SHA-256 over pixels, labels and class names: what training depends on.
        notes: what whoever gave the images must know of how they were read; sentences.
        groups: int64, shape (N,): images of one number come from one patient or slide; None where nobody said so.
        intensity: what was black and white in images deeper than a byte; None without such images.
    """

    pixels: npt.NDArray[np.uint8] = field(repr=False)
    labels: npt.NDArray[np.int64] = field(repr=False)
    classes: list[str]
    digest: str
    notes: tuple[str, ...] = ()
    groups: npt.NDArray[np.int64] | None = field(default=None, repr=False)
    intensity: Intensity | None = None


def image_set(pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], classes: Sequence[str]) -> ImageSet:
    """The set of these arrays, with its digest and without groups."""
    head = json.dumps({"shape": list(pixels.shape), "classes": list(classes)}, sort_keys=True).encode()
    hasher = hashlib.sha256(len(head).to_bytes(8, "little") + head)
    hasher.update(np.ascontiguousarray(pixels).data)
    hasher.update(np.ascontiguousarray(labels, dtype="<i8").data)
    return ImageSet(pixels, labels.astype(np.int64), list(classes), hasher.hexdigest())


def load_images(
    source: Path | str,
    size: int,
    root: Path | None = None,
    progress: Progress = _ignore,
    *,
    groups: bool = False,
    intensity: str = "",
) -> ImageSet:
    """Labelled images of a folder of class folders, or of a data set that `timm.data.create_dataset` knows.

    Args:
        source: a folder, or a name such as `torch/cifar10`; nothing is ever downloaded.
        size: pixels a side, of the blueprint.
        root: where a named data set lies; `data` in the working folder by default, as in torchvision's examples.
        progress: called with (images read, images, name of the class).
        groups: whether folders in a class folder are groups of its images.
        intensity: what is black and white in images deeper than a byte; see `intensity.settled`.

    Raises:
        InvalidInput: IMAGE_UNREADABLE, INTENSITY_UNKNOWN, DATASET_UNKNOWN, or as `walker.read`.
    """
    folder = Path(source)
    if not folder.exists() and datasets.is_name(str(source)):
        return _of_dataset(str(source), datasets.load(str(source), size, root or Path("data"), progress, intensity))
    tree = walker.read(folder, groups=groups)
    files = [(label, path) for label, entry in enumerate(tree.classes) for path in entry.files]
    names = [entry.name for entry in tree.classes]
    pixels = np.empty((len(files), size, size, 3), dtype=np.uint8)
    span = _intensity([path for _, path in files], intensity, str(folder))
    for index, (label, path) in enumerate(files):
        pixels[index] = decode(path, size, span)
        progress(index + 1, len(files), names[label])
    notes = [f"the images are those of the training split {tree.split} of {folder}"] if tree.split else []
    notes += _told(span, intensity)
    read = image_set(pixels, np.array([label for label, _ in files], dtype=np.int64), names)
    return replace(read, notes=tuple(notes), groups=_groups(tree), intensity=span)


def _intensity(paths: Sequence[Path], asked: str, where: str) -> Intensity | None:
    """The one range of all images that are deeper than a byte."""
    return settled([part for path in paths if (part := deep_extremes(path)) is not None], asked, where)


def _told(span: Intensity | None, asked: str) -> list[str]:
    """What a person must know of how deep pixels were read."""
    if span is not None:
        return [f"in images deeper than a byte, {span.low:.9g} is black and {span.high:.9g} is white"]
    return ["no image is deeper than a byte, so the range of intensities changes nothing"] if asked else []


def _groups(tree: walker.ImageTree) -> npt.NDArray[np.int64] | None:
    """A number for each image: one for all that lie in folders of one name, of whatever class; None without folders."""
    within = [path.relative_to(entry.path) for entry in tree.classes for path in entry.files]
    if all(len(path.parts) == 1 for path in within):
        return None
    names = [path.parts[0] if len(path.parts) > 1 else f"/{place}" for place, path in enumerate(within)]
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def load_unlabelled(
    folder: Path, size: int, progress: Progress = _ignore, *, intensity: str = ""
) -> npt.NDArray[np.uint8]:
    """All images below a folder, whatever folders they lie in; uint8 of shape (N, size, size, 3).

    Args:
        folder: of images.
        size: pixels a side, of the blueprint.
        progress: called with (images read, images, name of the file).
        intensity: as of `load_images`.

    Raises:
        InvalidInput: IMAGE_UNREADABLE, INTENSITY_UNKNOWN, or as `walker.images`.
    """
    files = walker.images(folder)
    pixels = np.empty((len(files), size, size, 3), dtype=np.uint8)
    span = _intensity(files, intensity, str(folder))
    for index, path in enumerate(files):
        pixels[index] = decode(path, size, span)
        progress(index + 1, len(files), path.name)
    return pixels


def check_source(source: Path | str, *, groups: bool = False) -> None:
    """Refuse a data path that cannot work, without reading an image.

    Raises:
        InvalidInput: as `walker.read`.
    """
    folder = Path(source)
    if folder.exists() or not datasets.is_name(str(source)):
        walker.check(folder, groups=groups)


def _of_dataset(name: str, loaded: datasets.Loaded) -> ImageSet:
    present, compact = np.unique(loaded.labels, return_inverse=True)
    if len(present) < 2:
        raise InvalidInput("ONE_CLASS_ONLY", f"the data set {name} has one class", "choose one with two or more")
    names = loaded.names
    known = [names[label] if 0 <= label < len(names) else str(label) for label in present.tolist()]
    labelled = image_set(loaded.squares, compact.reshape(-1).astype(np.int64), known)
    return replace(labelled, intensity=loaded.intensity, notes=tuple(_told(loaded.intensity, loaded.asked)))
