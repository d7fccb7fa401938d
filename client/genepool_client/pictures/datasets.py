"""Data sets by the names that `timm.data.create_dataset` takes, from what lies on this machine."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from genepool_client.pictures.decode import square
from genepool_client.pictures.intensity import Extremes, Intensity, extremes, is_deep, settled
from genepool_protocol.pictures import only_these
from genepool_protocol.wire.errors import InvalidInput

_PREFIXES: Final = ("torch/", "hfds/", "hfids/", "tfds/", "wds/")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A data set.

    Attributes:
        squares: uint8, shape (N, size, size, 3).
        labels: int64, shape (N,).
        names: of the classes, in the order of the labels, where the data set has them.
        intensity: of its deep images.
        asked: the range that was asked for.
    """

    squares: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    names: list[str]
    intensity: Intensity | None
    asked: str


def is_name(text: str) -> bool:
    """Whether a text is the name of a data set, and no path."""
    return text.lower().startswith(_PREFIXES)


def load(name: str, size: int, root: Path, progress: Callable[[int, int, str], None], intensity: str = "") -> Loaded:
    """Pixels, labels and class names of a data set's training split.

    Args:
        name: for instance `torch/cifar10`.
        size: pixels a side.
        root: where its files lie; nothing is downloaded.
        progress: called with (images read, images or 0, name).
        intensity: as of `images.load_images`.

    Raises:
        InvalidInput: DATASET_UNKNOWN, IMAGE_UNREADABLE or INTENSITY_UNKNOWN.
    """
    from timm.data import create_dataset

    try:
        with only_these():
            dataset = create_dataset(name, root=str(root), split="train", download=False)
            span = settled(_deep(dataset), intensity, f"the data set {name!r}")
            squares, labels = _read(dataset, name, size, progress, span)
    except InvalidInput:
        raise
    # unknown names, missing files, missing optional packages: each library has its own way to say so
    except Exception as exc:
        raise InvalidInput(
            "DATASET_UNKNOWN",
            f"the data set {name!r} is not on this machine under {root} ({type(exc).__name__})",
            "check its name (for instance torch/cifar10) and --data-dir; genepool downloads nothing",
        ) from exc
    if not squares:
        raise InvalidInput("FOLDER_EMPTY", f"the data set {name!r} holds no image", "choose another one")
    return Loaded(np.stack(squares), np.array(labels, dtype=np.int64), _names(dataset), span, intensity)


def _deep(dataset: Any) -> Iterator[Extremes]:
    """What the images that are deeper than a byte reach from and to; the first image tells whether there are any."""
    for index, (image, _) in enumerate(_items(dataset, _length(dataset))):
        if isinstance(image, Image.Image) and is_deep(image):
            yield extremes(image)
        elif index == 0:
            return


def _length(dataset: Any) -> int:
    return len(dataset) if hasattr(dataset, "__len__") else 0


def _read(
    found: Any, name: str, size: int, progress: Callable[[int, int, str], None], span: Intensity | None
) -> tuple[list[npt.NDArray[np.uint8]], list[int]]:
    total = _length(found)
    squares, labels = [], []
    for index, (image, label) in enumerate(_items(found, total)):
        if not isinstance(image, Image.Image):
            raise InvalidInput("IMAGE_UNREADABLE", f"item {index} of the data set {name!r} is no image")
        squares.append(square(image, size, span))
        labels.append(int(label))
        progress(index + 1, total, name)
    return squares, labels


def _items(found: Any, total: int) -> Iterator[tuple[Any, Any]]:
    return (found[index] for index in range(total)) if total else iter(found)


def _names(found: Any) -> list[str]:
    """Class names in the order of the labels, where the data set has them."""
    if getattr(found, "classes", None):
        return [str(name) for name in found.classes]
    index = getattr(getattr(found, "reader", None), "class_to_idx", None) or {}
    return [str(name) for name, _ in sorted(index.items(), key=lambda item: item[1])]
