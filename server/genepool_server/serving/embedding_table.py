"""All domain embeddings, in a file of their own: a selection looks at every embedding, and at few learngenes.

Rows lie in an unlinked temporary file that is mapped, so they belong to the page cache and not to the process; only
the row's number is kept per learngene.
"""

import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Final

import numpy as np
import numpy.typing as npt

from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.embedding import Embedding
from genepool_protocol.learngene.tensors import TensorFile
from genepool_protocol.wire.errors import GenepoolError, StorageError
from genepool_server.serving.library import StoredFile

_ROWS: Final = 1024
"""Rows that are mapped together."""


class EmbeddingTable:
    """Keys of one blueprint's learngenes, read from each file once. Thread-safe.

    Only the header of a file is checked, not its digest: a selection only chooses, and what it chose is hashed before
    it is used.

    Args:
        blueprint: whose learngenes.
        folder: where the temporary file goes.
    """

    def __init__(self, blueprint: Blueprint, folder: Path) -> None:
        self._width = blueprint.embedding_width
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - lives as long as the table
        self._rows: dict[str, int] = {}
        self._free: list[int] = []
        self._blocks: list[npt.NDArray[np.float32]] = []
        self._lock = threading.Lock()

    def close(self) -> None:
        """Forget all domain embeddings."""
        with self._lock:
            self._rows, self._blocks = {}, []
            self._file.close()

    def embeddings(self, refs: Iterable[StoredFile]) -> list[Embedding]:
        """The domain embeddings of these learngenes, in order, as copies: a row may be forgotten while they are used.

        Raises:
            StorageError: BLOB_CORRUPT.
        """
        with self._lock:
            return [self._embedding(self._rows.get(ref.sha256, -1), ref) for ref in refs]

    def keep(self, digests: set[str]) -> None:
        """Overwrite and forget the domain embeddings of all other files: of contributions that were withdrawn."""
        with self._lock:
            for sha256 in set(self._rows) - digests:
                row = self._rows.pop(sha256)
                self._blocks[row // _ROWS][row % _ROWS] = 0.0
                self._free.append(row)

    def _embedding(self, row: int, ref: StoredFile) -> Embedding:
        if row < 0:
            mean = self._read(ref)
            row = self._free.pop() if self._free else len(self._rows)
            if row // _ROWS == len(self._blocks):
                self._grow()
            self._blocks[row // _ROWS][row % _ROWS] = mean
            self._rows[ref.sha256] = row
        return Embedding(self._blocks[row // _ROWS][row % _ROWS].copy())

    def _grow(self) -> None:
        shape = (_ROWS, self._width)
        offset = len(self._blocks) * _ROWS * self._width * 4
        self._file.truncate(offset + _ROWS * self._width * 4)
        self._blocks.append(np.memmap(self._file, dtype=np.float32, mode="r+", offset=offset, shape=shape))

    def _read(self, ref: StoredFile) -> npt.NDArray[np.float32]:
        try:
            mean = np.asarray(TensorFile(Path(ref.path)).array("key.mean"), dtype=np.float32)
        except (GenepoolError, KeyError, OSError) as exc:
            raise _corrupt(ref) from exc
        if mean.shape != (self._width,):
            raise _corrupt(ref)
        return mean


def _corrupt(ref: StoredFile) -> StorageError:
    what = f"the stored file {Path(ref.path).name} holds no domain embedding of its blueprint"
    return StorageError("BLOB_CORRUPT", what, "run genepool-server fsck")
