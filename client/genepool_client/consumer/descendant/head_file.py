"""head.safetensors: the closed-form head that was fitted where the labels are, and what it was fitted on.

Nobody signs it; it is checked as strictly as the rest. The names of its classes are UTF-8 JSON, a byte per value,
because the strict tensor format has no place for text. The images that head and selection saw stand there as the first
half of their SHA-256, a byte per value, so that a later measurement can leave them out; earlier versions wrote none.
Where these images were deeper than a byte, what was black and white in them stands there, too: later ones are read so.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from genepool_client.consumer.descendant.folder import Scan, check_tensors, read_small, scan, tampered
from genepool_client.consumer.descendant.head import Head
from genepool_client.pictures.intensity import Intensity
from genepool_client.transport.durable import write_atomic
from genepool_protocol.learngene import descendant, tensors
from genepool_protocol.learngene.expansion import Layout
from genepool_protocol.learngene.tensors import Header
from genepool_protocol.private_files import shared_mode
from genepool_protocol.trust import digest, strict_json
from genepool_protocol.wire.errors import GenepoolError, InvalidInput
from genepool_protocol.wire.limits import LIMITS

Pixels = npt.NDArray[np.uint8]

_CLASSES: Final = "classes.utf8"
_SEEN: Final = "seen.sha256"
_INTENSITY: Final = "intensity.range"
_DIGEST: Final = 16
"""Bytes of an image's digest."""

_NAMES_BYTES: Final = 1 << 20
"""Longest list of class names, in bytes."""


def digests_of(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """The digest of each image.

    Args:
        pixels: uint8, shape (N, size, size, 3).

    Returns:
        uint8, shape (N, 16).
    """
    digests = [hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()[:_DIGEST] for image in pixels]
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(pixels), _DIGEST)


def write(folder: Path, head: Head, classes: Sequence[str], seen: Pixels, intensity: Intensity | None = None) -> None:
    """Put the head into a descendant's folder.

    Args:
        folder: a descendant's.
        head: what was fitted.
        classes: names.
        seen: the images that it was fitted and the descendant selected on; uint8, shape (N, size, size, 3).
        intensity: what was black and white in them, when they were deeper than a byte.
    """
    names = json.dumps(list(classes), ensure_ascii=False).encode()
    arrays = {
        "head.weight": np.asarray(head.weight),
        "head.bias": np.asarray(head.bias),
        _CLASSES: np.frombuffer(names, dtype=np.uint8).astype(np.float32),
        _SEEN: digests_of(seen).astype(np.float32),
    }
    if intensity is not None:
        arrays[_INTENSITY] = np.array([intensity.low, intensity.high], dtype=np.float32)
    write_atomic(folder / descendant.HEAD_FILE, tensors.encode(arrays, "F32"), shared_mode())


@dataclass(frozen=True, slots=True)
class HeadFile:
    """What the file holds.

    Attributes:
        head: that was fitted.
        classes: their names.
        seen: `digests_of` the images that head and selection saw, shape (N, 16); None where nobody noted them.
        intensity: what was black and white in these images; None where they were not deeper than a byte.
    """

    head: Head
    classes: tuple[str, ...]
    seen: npt.NDArray[np.uint8] | None
    intensity: Intensity | None


def read(folder: Path, width: int) -> HeadFile:
    """The head of a folder, the names of its classes and what it was fitted on.

    Args:
        folder: a descendant's.
        width: of the descendant's features.

    Raises:
        VerificationError: FOLDER_TAMPERED, it is malformed or does not fit the descendant.
    """
    path = folder / descendant.HEAD_FILE
    scanned = scan(path)
    try:
        header = _header(scanned, width)
        raw = read_small(path, scanned.size)
        if digest.sha256_hex(raw) != scanned.sha256:
            raise InvalidInput("FILE_MALFORMED", "it changed while it was read")
        weight, bias, names = (_array(raw, header, name) for name in ("head.weight", "head.bias", _CLASSES))
        classes = _classes(names, len(bias))
        seen = _bytes(_array(raw, header, _SEEN), "digests of images") if _SEEN in header.tensors else None
        intensity = _range(_array(raw, header, _INTENSITY)) if _INTENSITY in header.tensors else None
    except GenepoolError as exc:
        raise tampered(
            f"{path} is not a head of this descendant: {exc.message}", "remove it, or descend again"
        ) from exc
    return HeadFile(Head(weight, bias), classes, seen, intensity)


def _header(found: Scan, width: int) -> Header:
    stated = tensors.parse_header(found.head, found.size, max_size=1 << 30).layout
    count = _length(stated, "head.bias")
    if not 1 <= count <= LIMITS.support_classes:
        raise InvalidInput("ARCH_MISMATCH", f"a head has 1 to {LIMITS.support_classes} classes")
    length = min(_length(stated, _CLASSES), _NAMES_BYTES)
    layout = {"head.weight": (count, width), "head.bias": (count,), _CLASSES: (length,)}
    if _SEEN in stated:
        layout[_SEEN] = (min(_length(stated, _SEEN), LIMITS.support_images), _DIGEST)
    if _INTENSITY in stated:
        layout[_INTENSITY] = (2,)
    return check_tensors(found, layout, descendant.HEAD_FILE)


def _length(stated: Layout, name: str) -> int:
    """The first axis of a tensor; 0 for one that is missing or has none."""
    return (*stated.get(name, ()), 0)[0]


def _array(raw: bytes, header: Header, name: str) -> np.ndarray:
    tensor = header.tensors[name]
    part = raw[header.length + tensor.begin : header.length + tensor.end]
    return np.frombuffer(part, dtype="<f4").reshape(tensor.shape)


def _bytes(values: np.ndarray, what: str) -> npt.NDArray[np.uint8]:
    if ((values < 0) | (values > 255) | (values % 1 != 0)).any():
        raise InvalidInput("FILE_MALFORMED", f"the {what} are no bytes")
    return values.astype(np.uint8)


def _range(values: np.ndarray) -> Intensity:
    low, high = map(float, values)
    if low >= high:
        raise InvalidInput("FILE_MALFORMED", "the range of intensities is none")
    return Intensity(low, high)


def _classes(values: np.ndarray, count: int) -> tuple[str, ...]:
    names = strict_json.loads(
        _bytes(values, "class names").tobytes(), max_bytes=_NAMES_BYTES, what="list of class names"
    )
    if not isinstance(names, list) or len(names) != count or not all(isinstance(name, str) for name in names):
        raise InvalidInput("FILE_MALFORMED", "there is not one name for each class")
    return tuple(names)
