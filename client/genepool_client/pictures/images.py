"""Images for training and for support sets: a folder of class folders, or any data set that timm knows by name.

What is read follows torchvision's ImageFolder: files with a known image extension, in the sorted order of their paths,
labelled by the folder that they lie in. Hidden files and other files are passed over.
"""

import hashlib
import json
import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from genepool_client.pictures import datasets
from genepool_client.pictures.decode import decode
from genepool_protocol.progress import Progress
from genepool_protocol.wire.errors import InvalidInput

EXTENSIONS: Final = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""torchvision's IMG_EXTENSIONS."""
_TRAINING: Final = ("train", "training")
"""A folder of this name inside the data folder is the training split, as timm takes it."""


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
    """

    pixels: npt.NDArray[np.uint8] = field(repr=False)
    labels: npt.NDArray[np.int64] = field(repr=False)
    classes: list[str]
    digest: str


def image_set(pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], classes: Sequence[str]) -> ImageSet:
    """The set of these arrays, with its digest."""
    head = json.dumps({"shape": list(pixels.shape), "classes": list(classes)}, sort_keys=True).encode()
    hasher = hashlib.sha256(len(head).to_bytes(8, "little") + head)
    hasher.update(np.ascontiguousarray(pixels).data)
    hasher.update(np.ascontiguousarray(labels, dtype="<i8").data)
    return ImageSet(pixels, labels.astype(np.int64), list(classes), hasher.hexdigest())


def load_images(source: Path | str, size: int, root: Path | None = None, progress: Progress = _ignore) -> ImageSet:
    """Labelled images of a folder of class folders, or of a data set that `timm.data.create_dataset` knows.

    Args:
        source: a folder, or a name such as `torch/cifar10`; nothing is ever downloaded.
        size: pixels a side, of the blueprint.
        root: where a named data set lies; `data` in the working folder by default, as in torchvision's examples.
        progress: called with (images read, images, name of the class).

    Raises:
        InvalidInput: PATH_MISSING, FOLDER_EMPTY, CLASS_EMPTY, ONE_CLASS_ONLY, IMAGE_UNREADABLE or DATASET_UNKNOWN.
    """
    folder = Path(source)
    if not folder.exists() and datasets.is_name(str(source)):
        squares, raw_labels, names = datasets.load(str(source), size, root or Path("data"), progress)
        return _of_dataset(str(source), squares, raw_labels, names)
    classes = class_folders(folder)
    files = [(label, path) for label, name in enumerate(classes) for path in _images_in(name)]
    _check_classes(folder, classes, files)
    names = [unicodedata.normalize("NFC", path.name) for path in classes]
    pixels = np.empty((len(files), size, size, 3), dtype=np.uint8)
    for index, (label, path) in enumerate(files):
        pixels[index] = decode(path, size)
        progress(index + 1, len(files), names[label])
    return image_set(pixels, np.array([label for label, _ in files], dtype=np.int64), names)


def load_unlabelled(folder: Path, size: int, progress: Progress = _ignore) -> npt.NDArray[np.uint8]:
    """All images below a folder, whatever folders they lie in; uint8 of shape (N, size, size, 3).

    Raises:
        InvalidInput: PATH_MISSING, FOLDER_EMPTY or IMAGE_UNREADABLE.
    """
    _check_folder(folder)
    files = list(_images_in(folder))
    if not files:
        raise InvalidInput("FOLDER_EMPTY", f"there is no image in {folder}", f"images end in {', '.join(EXTENSIONS)}")
    pixels = np.empty((len(files), size, size, 3), dtype=np.uint8)
    for index, path in enumerate(files):
        pixels[index] = decode(path, size)
        progress(index + 1, len(files), path.name)
    return pixels


def class_folders(folder: Path) -> list[Path]:
    """The class folders of a data folder, or of the training split in it, sorted by name.

    Raises:
        InvalidInput: PATH_MISSING or FOLDER_EMPTY.
    """
    _check_folder(folder)
    for name in _TRAINING:
        if (folder / name).is_dir() and _folders(folder / name):
            folder = folder / name
            break
    folders = _folders(folder)
    if not folders and next(_images_in(folder), None) is not None:
        raise InvalidInput(
            "FOLDER_EMPTY", f"the images of {folder} do not lie in class folders", "make one folder for each class"
        )
    if not folders:
        raise InvalidInput("FOLDER_EMPTY", f"the folder {folder} is empty", "put one folder of images in it per class")
    return folders


def check_source(source: Path | str) -> None:
    """Refuse a data path that cannot work, without reading an image.

    Raises:
        InvalidInput: PATH_MISSING, FOLDER_EMPTY, CLASS_EMPTY, ONE_CLASS_ONLY.
    """
    folder = Path(source)
    if folder.exists() or not datasets.is_name(str(source)):
        classes = class_folders(folder)
        first = ((label, path) for label, name in enumerate(classes) for path in [next(_images_in(name), None)])
        _check_classes(folder, classes, [(label, path) for label, path in first if path is not None])


def _check_folder(folder: Path) -> None:
    if not folder.exists():
        raise InvalidInput(
            "PATH_MISSING",
            f"there is no folder {folder}",
            "check the path; data sets are named as in timm, for instance torch/cifar10",
        )
    if not folder.is_dir():
        raise InvalidInput("PATH_MISSING", f"{folder} is not a folder", "give the folder that holds the class folders")


def _check_classes(folder: Path, classes: Sequence[Path], files: Sequence[tuple[int, Path]]) -> None:
    filled = {label for label, _ in files}
    for label, path in enumerate(classes):
        if label not in filled:
            raise InvalidInput(
                "CLASS_EMPTY",
                f"the class folder {path} holds no image",
                f"put images in it ({', '.join(EXTENSIONS)}) or remove it",
            )
    if len(classes) < 2:
        raise InvalidInput(
            "ONE_CLASS_ONLY",
            f"{folder} has the one class {classes[0].name!r}",
            "an ancestry model needs at least two classes",
        )


def _folders(folder: Path) -> list[Path]:
    return sorted(
        (path for path in folder.iterdir() if path.is_dir() and not _hidden(path.name)),
        key=lambda path: unicodedata.normalize("NFC", path.name),
    )


def _images_in(folder: Path) -> Iterator[Path]:
    """Image files below a folder, in the order of their paths; links are followed."""
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not _hidden(name))
        for name in sorted(files):
            if not _hidden(name) and name.lower().endswith(EXTENSIONS):
                yield Path(parent) / name


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _of_dataset(
    name: str, squares: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], names: Sequence[str]
) -> ImageSet:
    present, compact = np.unique(labels, return_inverse=True)
    if len(present) < 2:
        raise InvalidInput("ONE_CLASS_ONLY", f"the data set {name} has one class", "choose one with two or more")
    known = [names[label] if 0 <= label < len(names) else str(label) for label in present.tolist()]
    return image_set(squares, compact.reshape(-1).astype(np.int64), known)
