"""The files of a descendant's folder, each read once through a descriptor that follows no link.

A folder may have been on a hub of models: what such a hub adds by itself is passed over, and a snapshot of Hugging
Face's cache is read, in which each file is a link to the store beside it.
"""

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import numpy as np

from genepool_protocol.learngene import descendant, tensors
from genepool_protocol.learngene.expansion import Layout
from genepool_protocol.learngene.manifest import BUNDLE_FILE
from genepool_protocol.learngene.tensors import Header
from genepool_protocol.wire.errors import InvalidInput, VerificationError
from genepool_protocol.wire.limits import LIMITS

_SMALL_BYTES: Final = descendant.RECEIPTS_BYTES
"""Largest file of the folder besides the tensors, in bytes."""
_CHUNK: Final = 1 << 20
_OF_HUBS: Final = frozenset({".gitattributes", ".gitignore", ".git", ".cache"})
"""What git and `huggingface_hub` put into a folder; nothing of it is read, by us or by timm."""
_OF_A_SNAPSHOT: Final = re.compile(r"\.\./\.\./blobs/(?:[0-9a-f]{40}|[0-9a-f]{64})")
"""Where the links of a snapshot lead: git's digest of a small file, SHA-256 of a large one."""


def tampered(why: str, fix: str = "descend again, and keep the folder as it is written") -> VerificationError:
    """The error of a folder that is not what was signed."""
    return VerificationError("FOLDER_TAMPERED", why, fix)


def check_listing(folder: Path) -> bool:
    """Refuse a folder that does not hold exactly the files of a descendant.

    Returns:
        Whether there is a head.

    Raises:
        InvalidInput: PATH_MISSING.
        VerificationError: FOLDER_TAMPERED, naming the first file that is missing, unknown or no plain file.
    """
    if not folder.is_dir():
        raise InvalidInput("PATH_MISSING", f"there is no folder {folder}", "give a folder that genepool descend wrote")
    expected = {*descendant.SIGNED, BUNDLE_FILE}
    with os.scandir(folder) as entries:
        listing = {entry.name: _target(Path(entry.path)) for entry in entries if entry.name not in _OF_HUBS}
    for name in sorted(expected - set(listing)):
        raise tampered(f"{folder} lacks the file {name}", "descend again, or give the folder of a descendant")
    for name in sorted(set(listing) - expected - {descendant.HEAD_FILE}):
        raise tampered(f"{folder} holds {name}, which nobody signed", "take it out of the folder")
    for name, path in sorted(listing.items()):
        if path.is_symlink() or not path.is_file():
            raise tampered(f"{name} in {folder} is a link or no plain file")
    return descendant.HEAD_FILE in listing


def _target(path: Path) -> Path:
    """Where a file's bytes lie: in the snapshot's store, if it is such a link; nothing else is followed."""
    if not path.is_symlink():
        return path
    link = path.readlink()
    return path.parent / link if _OF_A_SNAPSHOT.fullmatch(str(link)) else path


def open_plain(path: Path) -> IO[bytes]:
    """A file for reading; through no link but a snapshot's, and never something else than a plain file.

    Raises:
        VerificationError: FOLDER_TAMPERED.
    """
    try:
        handle = os.open(_target(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as exc:
        raise tampered(f"{path} cannot be read: {exc.strerror}") from exc
    file = os.fdopen(handle, "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise tampered(f"{path} is no plain file")
    return file


def read_small(path: Path, limit: int = _SMALL_BYTES) -> bytes:
    """A small file's bytes.

    Raises:
        VerificationError: FOLDER_TAMPERED, it cannot be read or is too long.
    """
    with open_plain(path) as file:
        raw = file.read(limit + 1)
    if len(raw) > limit:
        raise tampered(f"{path.name} has more than {limit} bytes")
    return raw


@dataclass(frozen=True, slots=True)
class Scan:
    """What one reading of a tensor file found.

    Attributes:
        sha256: hex, of all bytes.
        size: in bytes.
        head: the first bytes, with the whole header.
        finite: whether every value behind the header is a finite float32.
    """

    sha256: str
    size: int
    head: bytes
    finite: bool


def scan(path: Path) -> Scan:
    """Digest, header and finiteness of a float32 tensor file from one and the same reading of its bytes.

    Raises:
        VerificationError: FOLDER_TAMPERED, it cannot be read.
    """
    with open_plain(path) as file:
        head = file.read(8 + LIMITS.header_bytes)
        hasher, size = hashlib.sha256(head), len(head)
        # a valid header's length is a multiple of 8, so no value of a valid file lies across two readings
        finite = _all_finite(head[8 + int.from_bytes(head[:8], "little") :])
        while chunk := file.read(_CHUNK):
            hasher.update(chunk)
            size += len(chunk)
            finite = finite and _all_finite(chunk)
    return Scan(hasher.hexdigest(), size, head, finite)


def _all_finite(raw: bytes) -> bool:
    whole = len(raw) - len(raw) % 4
    return bool(np.isfinite(np.frombuffer(raw[:whole], dtype="<f4")).all())


def check_tensors(found: Scan, layout: Layout, name: str) -> Header:
    """The header of a scanned file, which must hold exactly these float32 tensors, in this order, all finite.

    Raises:
        InvalidInput: SAFETENSORS_MALFORMED, ARCH_MISMATCH or NON_FINITE.
    """
    header = tensors.parse_header(found.head, found.size, max_size=1 << 40)
    if list(header.layout.items()) != list(layout.items()):
        raise InvalidInput("ARCH_MISMATCH", f"{name} does not hold exactly the tensors that its size has")
    if any(tensor.dtype != "F32" for tensor in header.tensors.values()):
        raise InvalidInput("ARCH_MISMATCH", f"{name} is not in float32 throughout")
    if not found.finite:
        raise InvalidInput("NON_FINITE", f"{name} holds a number that is not finite")
    return header
