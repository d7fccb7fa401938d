"""Consumers' images on their way to the workers: in private shared memory, overwritten when the call ends.

They never enter Ray's object store, which keeps what is in it until it needs the room.
"""

import contextlib
import itertools
import mmap
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np

from genepool_protocol.machine.private_folder import OwnedFolder
from genepool_protocol.selection.support import Pixels
from genepool_protocol.wire.errors import StorageError, Unavailable

PREFIX: Final = "genepool-images-"
"""How the folder of shared images is named."""


@dataclass(frozen=True, slots=True)
class SharedPixels:
    """Where images lie: the file's path, and their shape (N, image, image, 3)."""

    path: str
    shape: tuple[int, ...]

    @contextlib.contextmanager
    def mapped(self) -> Iterator[Pixels]:
        """The images themselves, not a copy; whoever lends them may overwrite them at any time.

        Raises:
            Unavailable: SERVING_UNAVAILABLE, they are not lent any more.
        """
        try:
            with Path(self.path).open("r+b") as file:
                memory = mmap.mmap(file.fileno(), 0)
        except FileNotFoundError as exc:
            raise Unavailable("SERVING_UNAVAILABLE", "the call that the images belong to is over", "try again") from exc
        yield np.frombuffer(memory, dtype=np.uint8).reshape(self.shape)  # unmapped with its last view


class Pictures:
    """Lends images to workers. Thread-safe.

    Args:
        folder: the private folder that holds the files.
    """

    def __init__(self, folder: OwnedFolder) -> None:
        self._folder = folder
        self._names = itertools.count()

    @classmethod
    def create(cls, parents: Sequence[Path]) -> Self:
        """In the first of these folders that can be written to.

        Raises:
            StorageError: DISK_FULL, none can.
        """
        for parent in parents:
            with contextlib.suppress(OSError):
                return cls(OwnedFolder(parent, PREFIX))
        raise StorageError("DISK_FULL", f"there is no room in {', '.join(map(str, parents))}", "make room")

    @contextlib.contextmanager
    def lent(self, pixels: Pixels) -> Iterator[SharedPixels]:
        """The images where workers find them; with the block they are overwritten and gone.

        Raises:
            Unavailable: BUSY, there is no room.
        """
        path = self._folder.path / f"images-{next(self._names)}"
        try:
            memory = _reserved(path, pixels.nbytes)
        except OSError as exc:
            path.unlink(missing_ok=True)
            what = "the pool has no shared memory left for the images"
            raise Unavailable("BUSY", what, "try again in a minute", retry_seconds="5") from exc
        with memory:
            try:
                np.copyto(np.frombuffer(memory, dtype=np.uint8).reshape(pixels.shape), pixels)
                yield SharedPixels(str(path), pixels.shape)
            finally:
                memory[:] = bytes(pixels.nbytes)  # workers that are late see it, too: they map the same memory
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Delete the folder."""
        self._folder.close()


def _reserved(path: Path, size: int) -> mmap.mmap:
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle, 0, size)  # fails now, not with a SIGBUS when it is written to
        else:
            os.ftruncate(handle, size)
        return mmap.mmap(handle, size)
    finally:
        os.close(handle)
