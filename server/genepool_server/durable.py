"""Writes that are durable when they return: each verb syncs the file and the folder that names it, and no more.

A sync costs milliseconds, and a contribution waits for each of them.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from genepool_protocol.wire import disk_errors
from genepool_protocol.wire.errors import StorageError

_ZEROS = 1 << 20
_EXCLUSIVE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns what the operating system refuses into our errors.

    Raises:
        StorageError: DISK_FULL or DISK_FAILED.
    """
    try:
        yield
    except OSError as exc:
        reason, fix = disk_errors.cause(exc)
        raise StorageError(reason, f"{path.name} cannot be written: {exc.strerror}", fix) from exc


def mkdir(path: Path) -> None:
    """A folder for this user only; one that exists is left as it is.

    Raises:
        StorageError: DISK_FULL or DISK_FAILED.
    """
    with translated(path):
        with suppress(FileExistsError):
            path.mkdir(0o700)
        _sync_folder(path.parent)


def parents(path: Path) -> None:
    """The folders that a file is going to be in; those that exist are left as they are.

    Raises:
        StorageError: DISK_FULL or DISK_FAILED.
    """
    if not path.parent.is_dir():
        with translated(path):
            path.parent.mkdir(parents=True, exist_ok=True)


def create_exclusive(path: Path, data: bytes, mode: int = 0o600) -> None:
    """A new file with this content, or none.

    Raises:
        StorageError: DISK_FULL; DISK_FAILED, also when the file exists.
    """
    with translated(path):
        _create(path, data, mode)
        _sync_folder(path.parent)


def publish(source: Path, target: Path) -> None:
    """Give a synced file its final name, over a file that has it; repeating it after it succeeded does nothing.

    After a power failure a source in another folder may be there as well: whoever owns that folder must cope.

    Raises:
        StorageError: DISK_FULL or DISK_FAILED.
    """
    with translated(target):
        try:
            source.replace(target)
        except FileNotFoundError:
            if not target.exists():
                raise
        _sync_folder(target.parent)


def write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """A file that has its old content or all of the new one, whenever this process ends.

    Raises:
        StorageError: DISK_FULL or DISK_FAILED.
    """
    new = path.with_name(f".{path.name}.new")
    remove(new)
    with translated(path):
        _create(new, data, mode)
    publish(new, path)


@contextmanager
def writing(path: Path, mode: int = 0o600) -> Iterator[IO[bytes]]:
    """`write` for a library that wants a file: it takes its name at the end of the block, and is gone after an error.

    It is made exclusively, so no link that somebody put under its name is followed.

    Raises:
        StorageError: DISK_FULL or DISK_FAILED.
    """
    new = path.with_name(f".{path.name}.new")
    remove(new)
    try:
        with translated(path), os.fdopen(os.open(new, _EXCLUSIVE, mode), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise
    publish(new, path)


def append(path: Path, offset: int, data: bytes) -> None:
    """Put bytes at the end of a file, which is made when it is not there. Durable only after `sync`.

    Raises:
        StorageError: DISK_FULL or DISK_FAILED; the file is as long as before.
    """
    with translated(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            _write_all(descriptor, data, offset)
        except OSError:
            os.ftruncate(descriptor, offset)
            raise
        finally:
            os.close(descriptor)


def flush(path: Path) -> None:
    """Make a file's content durable: for one whose name is durable already, or is about to be published.

    Raises:
        StorageError: DISK_FULL or DISK_FAILED.
    """
    with translated(path):
        _fsync(path, os.O_RDONLY)


def sync(path: Path) -> None:
    """Make a file's content and name durable.

    Raises:
        StorageError: DISK_FULL or DISK_FAILED.
    """
    flush(path)
    with translated(path):
        _sync_folder(path.parent)


def remove(path: Path) -> None:
    """Take a file away that nobody will miss; one that is not there is fine. After a power failure it may come back.

    Raises:
        StorageError: DISK_FULL or DISK_FAILED.
    """
    with translated(path):
        path.unlink(missing_ok=True)


def wipe(path: Path) -> None:
    """Overwrite a file with zeros and take it away, durably; one that is not there is fine.

    A disk that writes to another place than it was told, or a file system that copies on write, may keep the old bytes.

    Raises:
        StorageError: DISK_FULL or DISK_FAILED.
    """
    with translated(path):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            descriptor = None
        if descriptor is not None:
            try:
                size = os.fstat(descriptor).st_size
                for start in range(0, size, _ZEROS):
                    _write_all(descriptor, bytes(min(_ZEROS, size - start)), start)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            path.unlink()
        if path.parent.is_dir():
            _sync_folder(path.parent)


def _create(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, _EXCLUSIVE, mode)
    try:
        _write_all(descriptor, data, 0)
        os.fsync(descriptor)
    except OSError:
        path.unlink()
        raise
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    rest = memoryview(data)
    while rest:
        count = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[count:], offset + count


def _sync_folder(path: Path) -> None:
    _fsync(path, os.O_RDONLY | os.O_DIRECTORY)


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
