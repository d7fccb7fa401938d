"""Strict safetensors files: the header is checked here before any tensor library sees the file.

The safetensors library is laxer than its specification (duplicate names, unknown fields, huge headers). This module
accepts a subset of the format: F32 and F16, no holes, no overlaps, no empty tensors, bounded header.
"""

import json
import math
import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from genepool_protocol.learngene.expansion import Layout, Shape
from genepool_protocol.trust import digest, strict_json
from genepool_protocol.wire.errors import GenepoolError, InvalidInput
from genepool_protocol.wire.limits import LIMITS

DTYPES: Final[dict[str, np.dtype[Any]]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}")
_MAX_DIM: Final = 1 << 20
_MAX_AXES: Final = 4


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor lies: dtype, shape, first and last byte (exclusive) of the data section."""

    dtype: str
    shape: Shape
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """A checked header: its length in bytes with the 8 length bytes, and the tensors in file order."""

    length: int
    tensors: dict[str, Tensor]

    @property
    def layout(self) -> Layout:
        """Names and shapes, in file order."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}


def _bad(rule: str, detail: str = "") -> InvalidInput:
    sentence = f"the safetensors file breaks the rule {rule}" + (f" ({detail})" if detail else "")
    return InvalidInput("SAFETENSORS_MALFORMED", sentence, "write it again with genepool", rule=rule)


def parse_header(head: bytes, size: int, max_size: int = LIMITS.learngene_bytes) -> Header:
    """Check a header and say where each tensor lies.

    Args:
        head: the first bytes of the file, at least the whole header.
        size: length of the whole file in bytes.
        max_size: largest file that is accepted, in bytes.

    Raises:
        InvalidInput: SAFETENSORS_MALFORMED, with `metadata["rule"]` naming the rule of SPEC.md section 3.
    """
    if size > max_size:
        raise _bad("TOO_LARGE", f"{size} bytes, at most {max_size}")
    if size < 10 or len(head) < 8:
        raise _bad("TRUNCATED")
    (length,) = struct.unpack("<Q", head[:8])
    if length > LIMITS.header_bytes:
        raise _bad("HEADER_TOO_LARGE")
    if length % 8 or 8 + length > size:
        raise _bad("HEADER_LENGTH")
    raw = bytes(head[8 : 8 + length])
    if len(raw) != length or not raw.startswith(b"{"):
        raise _bad("HEADER_START")
    return Header(8 + length, _tensors(_members(raw.rstrip(b" ")), size - 8 - length))


def _members(raw: bytes) -> dict[str, Any]:
    if not raw.endswith(b"}"):
        raise _bad("HEADER_JSON", "bytes after the object")
    try:
        members = strict_json.loads(raw, max_bytes=LIMITS.header_bytes, what="safetensors header")
    except GenepoolError as exc:
        raise _bad("HEADER_JSON", exc.message) from exc
    meta = members.pop("__metadata__", {})
    if not isinstance(meta, dict) or meta not in ({}, {"format": "pt"}):
        raise _bad("METADATA")
    if not 1 <= len(members) <= LIMITS.tensors:
        raise _bad("TENSOR_COUNT")
    return dict(members)


def _tensors(members: dict[str, Any], data_size: int) -> dict[str, Tensor]:
    tensors = {name: _tensor(name, value) for name, value in members.items()}
    ordered = dict(sorted(tensors.items(), key=lambda item: item[1].begin))
    position = 0
    for tensor in ordered.values():
        if tensor.begin != position:
            raise _bad("HOLE_OR_OVERLAP")
        position = tensor.end
    if position != data_size:
        raise _bad("TRAILING_OR_TRUNCATED", f"the header speaks of {position} bytes of data, there are {data_size}")
    return ordered


def _tensor(name: str, value: Any) -> Tensor:
    if not _NAME.fullmatch(name):
        raise _bad("TENSOR_NAME")
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise _bad("TENSOR_FIELDS", name)
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise _bad("DTYPE", name)
    if not isinstance(shape, list) or len(shape) > _MAX_AXES or not all(_within(n, 1, _MAX_DIM) for n in shape):
        raise _bad("SHAPE", name)
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_within(n, 0, 1 << 50) for n in offsets):
        raise _bad("OFFSETS", name)
    width = DTYPES[dtype].itemsize
    if offsets[1] - offsets[0] != math.prod(shape) * width:
        raise _bad("SIZE_MISMATCH", name)
    if offsets[0] % width:
        raise _bad("ALIGNMENT", name)
    return Tensor(dtype, tuple(shape), offsets[0], offsets[1])


def _within(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high  # not bool


def header_bytes(layout: Layout, dtype: str) -> bytes:
    """The length and JSON header of a file with these tensors, in this order, padded to 8 bytes."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, shape in layout.items():
        end = position + math.prod(shape) * DTYPES[dtype].itemsize
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, end]}
        position = end
    raw = json.dumps(entries, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    return struct.pack("<Q", len(raw)) + raw


def encode(tensors: Mapping[str, npt.NDArray[Any]], dtype: str) -> bytes:
    """A safetensors file with the tensors in the mapping's order."""
    layout = {name: tuple(array.shape) for name, array in tensors.items()}
    body = [np.ascontiguousarray(array, dtype=DTYPES[dtype]).tobytes() for array in tensors.values()]
    return b"".join([header_bytes(layout, dtype), *body])


class TensorFile:
    """A checked safetensors file, mapped read-only: the pages are shared by every process that maps it.

    Args:
        path: a file that is never modified in place (a truncated mapping kills the process).
        max_size: largest file that is accepted, in bytes.

    Raises:
        InvalidInput: FILE_MALFORMED when it cannot be read, SAFETENSORS_MALFORMED when the header breaks a rule.
    """

    def __init__(self, path: Path, max_size: int = 1 << 40) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                self.header = parse_header(file.read(8 + LIMITS.header_bytes), size, max_size)
                # maps the very file that was checked; a plain view of it, because slicing np.memmap is slow
                self._bytes = np.asarray(np.memmap(file, dtype=np.uint8, mode="r"))
        except OSError as exc:
            raise InvalidInput("FILE_MALFORMED", f"{path} cannot be read: {exc.strerror}") from exc

    def array(self, name: str) -> npt.NDArray[Any]:
        """One tensor as a read-only view of the file."""
        tensor = self.header.tensors[name]
        start = self.header.length
        raw = self._bytes[start + tensor.begin : start + tensor.end]
        return raw.view(DTYPES[tensor.dtype]).reshape(tensor.shape)

    def flat(self, layout: Layout) -> npt.NDArray[Any]:
        """The tensors of `layout` as one flat read-only view.

        Raises:
            InvalidInput: ARCH_MISMATCH, the file does not open with exactly these tensors in this order and one dtype.
        """
        first = list(self.header.tensors.items())[: len(layout)]
        if [(name, tensor.shape) for name, tensor in first] != list(layout.items()):
            raise InvalidInput("ARCH_MISMATCH", f"{self.path.name} does not hold the tensors of the blueprint in order")
        dtypes = {tensor.dtype for _, tensor in first}
        if len(dtypes) != 1:
            raise InvalidInput("ARCH_MISMATCH", f"{self.path.name} mixes dtypes")
        end = first[-1][1].end
        return self._bytes[self.header.length : self.header.length + end].view(DTYPES[dtypes.pop()])

    def all(self) -> dict[str, npt.NDArray[np.float32]]:
        """Every tensor as a float32 copy."""
        return {name: self.array(name).astype(np.float32) for name in self.header.tensors}

    def sha256(self) -> str:
        """Hex SHA-256 of the whole file: of the very bytes that the tensors are views of."""
        return digest.sha256_hex(self._bytes.data)

    def tensor_digest(self) -> str:
        """Hex SHA-256 over the sorted tensors, length-prefixed: equal for re-submissions with another header."""
        parts = bytearray()
        for name in sorted(self.header.tensors):
            tensor = self.header.tensors[name]
            label = f"{name}\0{tensor.dtype}\0{','.join(map(str, tensor.shape))}".encode()
            data = digest.sha256_hex(self._bytes[self.header.length :][tensor.begin : tensor.end].data).encode()
            parts += struct.pack("<Q", len(label)) + label + data
        return digest.sha256_hex(bytes(parts))
