"""Slots: shared memory that descendants are built into by a worker and streamed from by the front.

A slot is a file of fixed length in a memory file system, mapped and touched before it is used: page faults would cost
more than the combination itself. Only its owner may read it, and the weights never enter Ray's object store.
"""

import contextlib
import logging
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from genepool_protocol.machine.private_folder import OwnedFolder
from genepool_protocol.wire.errors import StorageError, Unavailable

_log = logging.getLogger(__name__)

PREFIX: Final = "genepool-slots-"
"""How the folders of slots are named."""

SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - Linux's memory file system; the folder in it is private


def map_shared(path: Path, size: int) -> mmap.mmap:
    """The file mapped for reading and writing, with every page touched where the system can do that.

    Raises:
        OSError: the file cannot be mapped.
    """
    with path.open("r+b") as file:
        flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
        return mmap.mmap(file.fileno(), size, flags=flags)


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot: its file, its length in bytes, and the front's own mapping of it."""

    path: Path
    size: int
    memory: mmap.mmap

    def read(self, begin: int, end: int) -> bytes:
        """A copy of the bytes [begin, end)."""
        return self.memory[begin:end]


class Slots:
    """A fixed number of slots, each leased to one descendant at a time. Not thread-safe: for one event loop.

    Args:
        folder: the private folder that holds the files.
        count: how many slots.
        size: bytes of each.

    Raises:
        OSError: there is no room.
    """

    def __init__(self, folder: OwnedFolder, count: int, size: int) -> None:
        self._folder = folder
        self.size = size
        self.count = count
        self._free = [_create(folder.path / f"slot-{index}", size) for index in range(count)]
        self._all = tuple(self._free)

    @classmethod
    def create(cls, parents: Sequence[Path], count: int, size: int) -> Self:
        """Slots in the first folder that has room for them.

        Raises:
            StorageError: DISK_FULL, none has.
        """
        for parent in parents:
            with contextlib.ExitStack() as undo:
                try:
                    folder = undo.enter_context(OwnedFolder(parent, PREFIX))
                    slots = cls(folder, count, size)
                except OSError as exc:
                    _log.warning("no room for %d slots of %d bytes in %s: %s", count, size, parent, exc.strerror)
                    continue
                undo.pop_all()
                return slots
        raise StorageError(
            "DISK_FULL",
            f"there is no room for {count} slots of {size} bytes in {', '.join(map(str, parents))}",
            "give the machine more shared memory, or serve fewer descendants at once",
        )

    @property
    def free(self) -> int:
        """How many slots are not leased."""
        return len(self._free)

    def lease(self) -> Slot:
        """A slot, until `give_back`.

        Raises:
            Unavailable: BUSY, all are leased.
        """
        if not self._free:
            raise Unavailable(
                "BUSY", f"all {self.count} slots are in use", "try again in a few seconds", retry_seconds="5"
            )
        return self._free.pop()

    def give_back(self, slot: Slot) -> None:
        """The slot may be leased again: nobody writes to it or reads from it any more."""
        self._free.append(slot)

    def close(self) -> None:
        """Unmap and delete all slots."""
        for slot in self._all:
            slot.memory.close()
        self._free = []
        self._folder.close()


def _create(path: Path, size: int) -> Slot:
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle, 0, size)  # fails now, not with a SIGBUS in the middle of a descendant
        else:
            os.ftruncate(handle, size)
    finally:
        os.close(handle)
    return Slot(path, size, map_shared(path, size))
