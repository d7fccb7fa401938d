"""Learngenes as mapped files: the page cache is the store that all processes share.

A process keeps a bounded number of mappings, so its private memory does not grow with the pool. A file is hashed when
it is mapped: what is served is what the log names, or nothing.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from genepool_protocol.learngene import algebra
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.expansion import Layout
from genepool_protocol.learngene.tensors import TensorFile
from genepool_protocol.trust import digest
from genepool_protocol.wire.errors import GenepoolError, InvalidInput, StorageError


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A tensor file that is never modified: where it lies, and its hex SHA-256."""

    path: str
    sha256: str

    @classmethod
    def at(cls, path: Path, sha256: str) -> Self:
        """The same by its whole path: workers run in other folders than the server."""
        return cls(str(path.absolute()), sha256)


@dataclass(frozen=True, slots=True)
class Family:
    """A blueprint and the file of its seed."""

    blueprint: Blueprint
    seed: StoredFile


class Library:
    """Mapped files by digest, the least recently used ones unmapped first. Thread-safe.

    Args:
        capacity: how many files stay mapped.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._files: OrderedDict[str, TensorFile] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._files)

    def open(self, ref: StoredFile) -> TensorFile:
        """The file, mapped; hashed when it was not mapped yet.

        Raises:
            StorageError: BLOB_CORRUPT, the file is missing, not a tensor file or not the one that the digest names.
        """
        with self._lock:
            if ref.sha256 in self._files:
                self._files.move_to_end(ref.sha256)
                return self._files[ref.sha256]
        file = _checked(ref)
        with self._lock:
            self._files[ref.sha256] = file
            while len(self._files) > self._capacity:
                self._files.popitem(last=False)
        return file

    def flat(self, ref: StoredFile, layout: Layout) -> algebra.Stored:
        """The tensors of `layout`, with which the file opens, as one flat read-only view.

        Raises:
            StorageError: BLOB_CORRUPT, also when the file opens with other tensors.
        """
        try:
            return self.open(ref).flat(layout)
        except InvalidInput as exc:
            raise _corrupt(Path(ref.path), "does not hold the tensors of its blueprint") from exc


def _checked(ref: StoredFile) -> TensorFile:
    path = Path(ref.path)
    try:
        file = TensorFile(path)
        actual = digest.sha256_file(path)
    except (GenepoolError, OSError) as exc:
        raise _corrupt(path, "cannot be read as a tensor file") from exc
    if actual != ref.sha256:
        raise _corrupt(path, f"has SHA-256 {actual[:16]}..., the ledger says {ref.sha256[:16]}...")
    return file


def _corrupt(path: Path, why: str) -> StorageError:
    return StorageError("BLOB_CORRUPT", f"the stored file {path.name} {why}", "run genepool-server fsck")
