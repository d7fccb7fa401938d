"""head.safetensors: the closed-form head that was fitted where the labels are, with the names of its classes.

Nobody signs it; it is checked as strictly as the rest. Class names are UTF-8 JSON, a byte per value, because the strict
tensor format has no place for text.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from genepool_client.consumer.descendant.folder import Scan, check_tensors, read_small, scan, tampered
from genepool_client.consumer.descendant.head import Head
from genepool_client.transport.durable import write_atomic
from genepool_protocol.learngene import descendant, tensors
from genepool_protocol.learngene.expansion import Layout
from genepool_protocol.learngene.tensors import Header
from genepool_protocol.private_files import shared_mode
from genepool_protocol.trust import digest, strict_json
from genepool_protocol.wire.errors import GenepoolError, InvalidInput
from genepool_protocol.wire.limits import LIMITS

_CLASSES: Final = "classes.utf8"
_NAMES_BYTES: Final = 1 << 20
"""Longest list of class names, in bytes."""


def write(folder: Path, head: Head, classes: Sequence[str]) -> None:
    """Put the head into a descendant's folder."""
    names = json.dumps(list(classes), ensure_ascii=False).encode()
    arrays = {
        "head.weight": np.asarray(head.weight),
        "head.bias": np.asarray(head.bias),
        _CLASSES: np.frombuffer(names, dtype=np.uint8).astype(np.float32),
    }
    write_atomic(folder / descendant.HEAD_FILE, tensors.encode(arrays, "F32"), shared_mode())


def read(folder: Path, width: int) -> tuple[Head, tuple[str, ...]]:
    """The head of a folder and the names of its classes.

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
    except GenepoolError as exc:
        raise tampered(
            f"{path} is not a head of this descendant: {exc.message}", "remove it, or descend again"
        ) from exc
    return Head(weight, bias), classes


def _header(found: Scan, width: int) -> Header:
    stated = tensors.parse_header(found.head, found.size, max_size=1 << 30).layout
    count = _length(stated, "head.bias")
    if not 1 <= count <= LIMITS.support_classes:
        raise InvalidInput("ARCH_MISMATCH", f"a head has 1 to {LIMITS.support_classes} classes")
    length = min(_length(stated, _CLASSES), _NAMES_BYTES)
    layout = {"head.weight": (count, width), "head.bias": (count,), _CLASSES: (length,)}
    return check_tensors(found, layout, descendant.HEAD_FILE)


def _length(stated: Layout, name: str) -> int:
    """The first axis of a tensor; 0 for one that is missing or has none."""
    return (*stated.get(name, ()), 0)[0]


def _array(raw: bytes, header: Header, name: str) -> np.ndarray:
    tensor = header.tensors[name]
    part = raw[header.length + tensor.begin : header.length + tensor.end]
    return np.frombuffer(part, dtype="<f4").reshape(tensor.shape)


def _classes(values: np.ndarray, count: int) -> tuple[str, ...]:
    if ((values < 0) | (values > 255) | (values % 1 != 0)).any():
        raise InvalidInput("FILE_MALFORMED", "the class names are no bytes")
    names = strict_json.loads(values.astype(np.uint8).tobytes(), max_bytes=_NAMES_BYTES, what="list of class names")
    if not isinstance(names, list) or len(names) != count or not all(isinstance(name, str) for name in names):
        raise InvalidInput("FILE_MALFORMED", "there is not one name for each class")
    return tuple(names)
