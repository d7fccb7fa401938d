"""What a folder of images is: the one walker of sites, consumers and simulations.

A folder of class folders is read as torchvision's ImageFolder reads it: files with a known image extension, in the
sorted order of their paths, labelled by the folder that they lie in. Besides:

- `PASSED_OVER` names what systems put there by themselves; hidden names are passed over, too.
- Each folder is visited once, and each file is one image, however many links lead there.
- Folders of which all are splits (`train`, `Test`, `validation`) are splits: the training split is read.
- Where all images lie in folders of class folders, they may be groups (patients, slides) or data sets of their own:
  it is refused with both readings, unless somebody said that they are groups.
"""

import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import Final

from genepool_protocol.wire.errors import InvalidInput
from genepool_protocol.wire.text import is_printable

EXTENSIONS: Final = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""torchvision's IMG_EXTENSIONS."""

PASSED_OVER: Final = frozenset(
    {"__macosx", "@eadir", "@__thumb", "@recycle", "#recycle", "#snapshot", "lost+found", "$recycle.bin"}
    | {"system volume information", "thumbnails"}
)
"""Folders that archives, cameras, file servers and file systems make, in lower case."""

TRAINING: Final = frozenset({"train", "training", "trainset"})
"""Names of a training split, in lower case."""

SPLITS: Final = TRAINING | {"test", "testing", "testset", "val", "valid", "validation", "dev", "eval", "holdout"}
"""Names of splits, in lower case."""


@dataclass(frozen=True, slots=True)
class ClassFolder:
    """A class: the name of its folder in Unicode's normal form C, and its images in the order of their paths."""

    name: str
    path: Path
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class ImageTree:
    """A folder of class folders.

    Attributes:
        folder: that holds the class folders: the given one, or the training split in it.
        classes: sorted by name.
        split: name of the training split; empty where there are no splits.
    """

    folder: Path
    classes: tuple[ClassFolder, ...]
    split: str = ""


@dataclass(slots=True)
class _Visits:
    """Folders and files by device and inode: where each was seen first, and where again."""

    seen: dict[tuple[int, int], Path] = field(default_factory=dict)
    again: list[tuple[Path, Path]] = field(default_factory=list)

    def first(self, path: Path) -> bool:
        """Whether a path leads to something that was not seen."""
        earlier = self.seen.setdefault(_identity(path), path)
        if earlier != path:
            self.again.append((earlier, path))
        return earlier == path


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def read(folder: Path, *, groups: bool = False) -> ImageTree:
    """The class folders of a data folder with their images.

    Args:
        folder: of class folders, or of splits with class folders.
        groups: whether folders in a class folder are groups of its images.

    Raises:
        InvalidInput: PATH_MISSING, PATH_UNREADABLE, FOLDER_EMPTY, FOLDER_AMBIGUOUS, CLASS_EMPTY, ONE_CLASS_ONLY or
            NAME_INVALID.
    """
    return _read(folder, groups=groups, most=None)


def check(folder: Path, *, groups: bool = False) -> None:
    """Raise what `read` would raise, from the first image of each class on."""
    _read(folder, groups=groups, most=1)


def images(folder: Path) -> list[Path]:
    """All images below a folder, whatever folders they lie in.

    Raises:
        InvalidInput: PATH_MISSING, PATH_UNREADABLE or FOLDER_EMPTY.
    """
    _check_folder(folder)
    paths = list(_below(folder, _Visits()))
    if not paths:
        raise InvalidInput("FOLDER_EMPTY", f"there is no image in {folder}", f"images end in {', '.join(EXTENSIONS)}")
    return paths


def count(folder: Path, most: int) -> int:
    """How many images lie below a folder, at most so many, so that a whole disk is never walked."""
    return sum(1 for _ in islice(_below(folder, _Visits()), most))


def folders(folder: Path) -> list[Path]:
    """The folders in a folder that may hold images, sorted by name.

    Raises:
        InvalidInput: PATH_MISSING or PATH_UNREADABLE.
    """
    _check_folder(folder)
    paths = (path for path in _entries(folder) if path.is_dir())
    return sorted(paths, key=lambda path: unicodedata.normalize("NFC", path.name))


def _read(folder: Path, *, groups: bool, most: int | None) -> ImageTree:
    top, split = _training_split(folder)
    paths = folders(top)
    if not paths:
        raise _no_classes(top)
    visits = _Visits()
    visits.first(top)
    classes = tuple(ClassFolder(_name(path), path, tuple(islice(_below(path, visits), most))) for path in paths)
    _check_classes(top, classes)
    _check_links(top, classes, visits)
    if not groups:
        _check_depth(top, classes)
    return ImageTree(top, classes, split)


def _training_split(folder: Path) -> tuple[Path, str]:
    """The folder that holds the class folders, and the name of the split that it is."""
    paths = folders(folder)
    training = [path for path in paths if path.name.lower() in TRAINING]
    if not paths or not {path.name.lower() for path in paths} <= SPLITS:
        return folder, ""
    if len(training) != 1 or not folders(training[0]):
        raise _ambiguous(
            folder,
            f"{_listed(paths)} may be classes, or splits of which not just one is for training and has class folders",
            "give the folder that holds the class folders, or rename the folders if they are the classes",
        )
    return training[0], training[0].name


def _below(folder: Path, visits: _Visits) -> Iterator[Path]:
    """Image files below a folder, in the order of their paths; links are followed, and nothing is visited twice."""
    if not visits.first(folder):
        return
    within = sorted(_entries(folder), key=lambda path: path.name)
    for path in within:
        if path.name.lower().endswith(EXTENSIONS) and not path.is_dir() and visits.first(_there(path)):
            yield path
    for path in within:
        if path.is_dir():
            yield from _below(path, visits)


def _entries(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as children:
            names = [child.name for child in children]
    except OSError as exc:
        raise _unreadable(folder, exc) from exc
    return (folder / name for name in names if not name.startswith(".") and name.lower() not in PASSED_OVER)


def _unreadable(folder: Path, exc: OSError) -> InvalidInput:
    return InvalidInput(
        "PATH_UNREADABLE",
        f"the folder {folder} cannot be read ({os.strerror(exc.errno or 0).lower()})",
        "let this user read it, or take it out of the data",
    )


def _there(path: Path) -> Path:
    if not path.is_file():
        what = (
            f"the link {path} leads to no file" if path.is_symlink() else f"{path} is named like an image and is none"
        )
        raise InvalidInput("IMAGE_UNREADABLE", what, "repair it or take it out of the folder")
    return path


def _name(path: Path) -> str:
    name = unicodedata.normalize("NFC", path.name)
    try:
        name.encode()
    except UnicodeEncodeError:
        printable = False
    else:
        printable = is_printable(name)
    if not printable:
        raise InvalidInput(
            "NAME_INVALID",
            f"the class folder {path.name!a} in {path.parent} has a name that cannot be written everywhere",
            "rename it: class names are printable UTF-8",
        )
    return name


def _check_folder(folder: Path) -> None:
    try:
        there, is_folder = folder.exists(), folder.is_dir()
    except OSError as exc:
        raise _unreadable(folder, exc) from exc
    if not there:
        raise InvalidInput(
            "PATH_MISSING",
            f"there is no folder {folder}",
            "check the path; data sets are named as in timm, for instance torch/cifar10",
        )
    if not is_folder:
        raise InvalidInput("PATH_MISSING", f"{folder} is not a folder", "give the folder that holds the class folders")


def _check_classes(folder: Path, classes: Sequence[ClassFolder]) -> None:
    for first, second in pairwise(classes):
        if first.name == second.name:
            raise _ambiguous(
                folder,
                f"{first.path.name!r} and {second.path.name!r} are one name in two spellings of Unicode",
                "put their images into one folder",
            )
    if len(classes) < 2:
        raise InvalidInput(
            "ONE_CLASS_ONLY",
            f"{folder} has the one class {classes[0].path.name!r}",
            "an ancestry model needs at least two classes; give the folder that holds the class folders",
        )


def _check_links(folder: Path, classes: Sequence[ClassFolder], visits: _Visits) -> None:
    """Refuse what links put into two classes, and classes without an image."""
    for earlier, later in visits.again:
        first, second = _class_of(earlier, classes), _class_of(later, classes)
        if first and second and first != second:
            raise _ambiguous(
                folder,
                f"{earlier} and {later} are one and the same, in the classes {first!r} and {second!r}",
                "take the link out of one of them",
            )
    for entry in classes:
        if not entry.files:
            raise InvalidInput(
                "CLASS_EMPTY",
                f"the class folder {entry.path} holds no image",
                f"put images in it ({', '.join(EXTENSIONS)}) or remove it",
            )


def _class_of(path: Path, classes: Sequence[ClassFolder]) -> str:
    """The class that a path lies in; empty for one above all of them."""
    return next((entry.name for entry in classes if path.is_relative_to(entry.path)), "")


def _check_depth(folder: Path, classes: Sequence[ClassFolder]) -> None:
    """Refuse folders of which none holds an image itself, and one holds several folders of images."""
    if any(path.parent == entry.path for entry in classes for path in entry.files):
        return
    for entry in classes:
        inner = [path for path in folders(entry.path) if count(path, 1)]
        if len(inner) > 1:
            raise _ambiguous(
                folder,
                f"{_listed([each.path for each in classes])} may be classes, with folders such as {inner[0].name!r} "
                f"as groups of images (patients, slides), or data sets with classes such as {inner[0].name!r}",
                f"say --groups if they are classes, or give one data set, for instance {entry.path}",
            )


def _no_classes(folder: Path) -> InvalidInput:
    if count(folder, 1):
        return InvalidInput(
            "FOLDER_EMPTY", f"the images of {folder} do not lie in class folders", "make one folder for each class"
        )
    return InvalidInput("FOLDER_EMPTY", f"the folder {folder} is empty", "put one folder of images in it per class")


def _ambiguous(folder: Path, readings: str, fix: str) -> InvalidInput:
    return InvalidInput("FOLDER_AMBIGUOUS", f"{folder} can be read in two ways: {readings}", fix)


def _listed(paths: Sequence[Path], most: int = 3) -> str:
    names = ", ".join(repr(path.name) for path in paths[:most])
    return f"{names} and {len(paths) - most} more" if len(paths) > most else names
