"""Folders and files of this user's own, whatever the umask is, and whoever else may write beside them."""

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from genepool_protocol.wire.errors import VerificationError

FOLDER: Final = 0o700
FILE: Final = 0o600
_OTHERS: Final = 0o077
_OTHERS_WRITE: Final = 0o022


def private_folder(path: Path) -> Path:
    """A folder that nobody else may enter, made with its parents when it is not there; one that others could is closed.

    A link is followed when it is this user's own, as for a cache on another disk.

    Raises:
        VerificationError: PATH_FOREIGN, it is another user's, or a link of one.
        OSError: the disk refuses, or it is no folder.
    """
    try:
        path.mkdir(FOLDER)
    except FileNotFoundError:
        private_folder(path.parent)
        return private_folder(path)
    except FileExistsError:
        if path.lstat().st_uid not in _trusted():
            raise _foreign(path) from None
        status = path.stat()
        if not stat.S_ISDIR(status.st_mode):
            raise
        if status.st_uid not in _trusted():
            raise _foreign(path) from None
        if status.st_mode & _OTHERS:
            path.chmod(FOLDER)
    return path


def claimed_folder(path: Path) -> Path:
    """A folder of one's own beside other people's files, such as the parts of a download.

    One that is there already is this user's and no link. One that others could write into is emptied first: what lies
    in it may be theirs.

    Raises:
        VerificationError: PATH_FOREIGN.
        OSError: the disk refuses.
    """
    try:
        path.mkdir(FOLDER)
    except FileExistsError:
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise _foreign(path) from None
        if status.st_mode & _OTHERS_WRITE:
            shutil.rmtree(path)
            path.mkdir(FOLDER)
        path.chmod(FOLDER)
    return path


def open_own(path: Path, flags: int) -> int:
    """A descriptor of a plain file of this user's alone, made when it is not there; never through a link.

    Args:
        path: the file; its folder exists.
        flags: of `os.open`, for instance `os.O_WRONLY | os.O_APPEND`.

    Raises:
        VerificationError: PATH_FOREIGN, it is a link, no plain file, another user's, or has a second name.
        OSError: the disk refuses.
    """
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        handle = os.open(path, flags | os.O_CREAT | os.O_EXCL, FILE)
    except FileExistsError:
        if path.is_symlink():
            raise _foreign(path) from None
        handle = os.open(path, flags)
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink != 1:
        os.close(handle)
        raise _foreign(path)
    return handle


def append_own(path: Path) -> IO[bytes]:
    """`open_own` for appending bytes.

    Raises:
        VerificationError: PATH_FOREIGN.
        OSError: the disk refuses.
    """
    return os.fdopen(open_own(path, os.O_WRONLY | os.O_APPEND), "ab")


def create_own(path: Path, data: bytes) -> None:
    """A new private file with this content.

    Raises:
        FileExistsError: something has that name, also a link.
        OSError: the disk refuses.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE)
    with os.fdopen(handle, "wb") as file:
        file.write(data)


@contextlib.contextmanager
def replacing(path: Path, mode: int = FILE) -> Iterator[IO[bytes]]:
    """A new file to write, which takes the name at the end of the block, durably; after an error nothing has changed.

    It is made exclusively under a name that nobody can guess, so no link that lies there is followed.

    Args:
        path: the file; its folder exists.
        mode: permissions, from the first byte on, whatever the umask.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def close_tree(path: Path) -> None:
    """Take everybody else's rights from a file, or a folder and all in it; links and others' files are left alone."""
    status = path.lstat()
    if status.st_uid != os.geteuid() or stat.S_ISLNK(status.st_mode):
        return
    if status.st_mode & _OTHERS:
        path.chmod(stat.S_IMODE(status.st_mode) & ~_OTHERS)
    if stat.S_ISDIR(status.st_mode):
        for entry in path.iterdir():
            close_tree(entry)


def shared_mode(*, folder: bool = False) -> int:
    """The mode that this user's umask gives to what others may read."""
    umask = os.umask(_OTHERS)  # asking is setting; meanwhile nothing is made that is more open
    os.umask(umask)
    return (0o777 if folder else 0o666) & ~umask


def _trusted() -> tuple[int, int]:
    return os.geteuid(), 0


def _foreign(path: Path) -> VerificationError:
    return VerificationError(
        "PATH_FOREIGN",
        f"{path} was made by somebody else, is a link, or is no plain file: what is written there could land elsewhere",
        "remove it, or choose a folder that only you can write into",
    )
