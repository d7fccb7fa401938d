"""An error of the operating system about a file, as one of ours: the fix fits the cause."""

import errno
import os
from types import MappingProxyType
from typing import Final

from genepool_protocol.wire.errors import StorageError

_ROOM: Final = "free some space, or choose another disk"
_RIGHTS: Final = "let this user write there, or choose another place"
_CAUSES: Final = MappingProxyType(
    {
        errno.ENOSPC: ("DISK_FULL", _ROOM),
        errno.EDQUOT: ("DISK_FULL", "free some of this user's quota, or choose another disk"),
        errno.EFBIG: ("DISK_FULL", "raise the limit of a file's size (ulimit -f), or choose another disk"),
        errno.EROFS: ("DISK_FAILED", "choose a place on a disk that is not mounted read-only"),
        errno.EIO: ("DISK_FAILED", "the disk itself fails: look at the system's log, and choose another one"),
        errno.EACCES: ("DISK_FAILED", _RIGHTS),
        errno.EPERM: ("DISK_FAILED", _RIGHTS),
        errno.ENAMETOOLONG: ("DISK_FAILED", "choose a shorter name"),
        errno.ENOTDIR: ("DISK_FAILED", "a part of the path is a file: choose another path"),
        errno.EISDIR: ("DISK_FAILED", "that is a folder: choose another name"),
        errno.EMFILE: ("DISK_FAILED", "raise the limit of open files (ulimit -n)"),
    }
)


def is_of_a_disk(exc: OSError) -> bool:
    """Whether an error is one that a file meets, and no defect or network."""
    return exc.errno in _CAUSES


def cause(exc: OSError) -> tuple[str, str]:
    """The reason of an error, and what mends it."""
    return _CAUSES.get(exc.errno or 0, ("DISK_FAILED", "check the path, its permissions and the disk"))


def told(exc: OSError, where: str = "") -> StorageError:
    """The error of ours.

    Args:
        exc: what was raised.
        where: what could not be written, if the error does not say it.
    """
    reason, fix = cause(exc)
    place = os.fsdecode(exc.filename) if isinstance(exc.filename, str | bytes) else where
    return StorageError(reason, f"{place or 'a file'} cannot be written: {exc.strerror or exc}", fix)
