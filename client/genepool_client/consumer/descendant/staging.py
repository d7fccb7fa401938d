"""A folder that appears under its final name only when it is whole and verified; until then its parts lie beside it.

.NAME.part/  lock            held while somebody works here; all of it is this user's alone
request.json    what the parts belong to: another request starts over
folder/         becomes NAME
"""

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from genepool_client.transport.durable import write_json
from genepool_protocol.private_files import FOLDER, claimed_folder, open_own, shared_mode, sync_folder
from genepool_protocol.wire import disk_errors
from genepool_protocol.wire.errors import GenepoolError, InvalidInput, Unavailable

_RESERVED: Final = "reserved"
"""File that holds room for what is made last."""


class Staging:
    """The parts of one folder in the making.

    Leaving the block in peace without `publish`, or by a lost connection, keeps what was downloaded for the next try; a
    full disk and everything else removes it.

    Args:
        out: the final name; its parents are made.
        request: what is being made, as JSON.

    Raises:
        InvalidInput: PATH_NOT_EMPTY, the final name is taken.
        Unavailable: FOLDER_IN_USE, another process makes the same folder.
        VerificationError: PATH_FOREIGN, somebody else made the place for its parts.
        StorageError: DISK_FULL or DISK_FAILED.
    """

    def __init__(self, out: Path, request: dict[str, Any]) -> None:
        check_free(out)
        self.out = out.absolute()
        self._parts = self.out.parent / f".{out.name}.part"
        self.folder = self._parts / "folder"
        with storage_errors(self._parts):
            self.out.parent.mkdir(parents=True, exist_ok=True)
            claimed_folder(self._parts)
            self._lock = open_own(self._parts / "lock", os.O_RDWR)
            try:
                self._take()
                self._open(request)
            except BaseException:
                os.close(self._lock)
                raise

    def clear(self) -> None:
        """Forget everything that was downloaded."""
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(FOLDER)

    def reserve(self, size: int) -> None:
        """Take so many bytes of the disk, so that what takes long is not made in vain; `release` gives them back.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED.
        """
        with storage_errors(self._parts), (self._parts / _RESERVED).open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.write(bytes(size))

    def release(self) -> None:
        """Give back what was reserved."""
        (self._parts / _RESERVED).unlink(missing_ok=True)

    def publish(self) -> None:
        """Give the folder its final name, durably.

        Raises:
            InvalidInput: PATH_NOT_EMPTY, somebody took the name meanwhile.
            StorageError: DISK_FAILED.
        """
        check_free(self.out)
        with storage_errors(self.out):
            for path in self.folder.iterdir():
                with path.open("rb") as file:
                    os.fchmod(file.fileno(), shared_mode())  # a model is for whoever may read the folder
                    os.fsync(file.fileno())
            self.folder.chmod(shared_mode(folder=True))
            sync_folder(self.folder)
            self.folder.rename(self.out)
            sync_folder(self.out.parent)
        self._remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        resumable = kind is None or isinstance(value, (Unavailable, KeyboardInterrupt))
        if not resumable:
            self._remove()
        os.close(self._lock)

    def _remove(self) -> None:
        shutil.rmtree(self._parts, ignore_errors=True)

    def _take(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise Unavailable(
                "FOLDER_IN_USE", f"another process is making {self.out}", "wait for it, or choose another folder"
            ) from exc

    def _open(self, request: dict[str, Any]) -> None:
        path = self._parts / "request.json"
        try:
            same = json.loads(path.read_bytes()) == request
        except (OSError, ValueError):
            same = False
        if not same:
            self.clear()
            write_json(path, request)
        claimed_folder(self.folder)


def check_place(out: Path) -> None:
    """Refuse a name that is taken, or cannot be made: before anything that takes long.

    Raises:
        InvalidInput: PATH_NOT_EMPTY.
        StorageError: DISK_FULL or DISK_FAILED.
    """
    check_free(out)
    parents = out.absolute().parents
    with storage_errors(out), tempfile.TemporaryDirectory(dir=next(path for path in parents if path.exists())):
        pass


def check_free(out: Path) -> None:
    """Refuse a name that is taken by anything but an empty folder.

    Raises:
        InvalidInput: PATH_NOT_EMPTY.
    """
    taken = out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir())))
    if taken:
        raise InvalidInput("PATH_NOT_EMPTY", f"{out} exists already", "choose another folder, or remove it")


@contextlib.contextmanager
def storage_errors(where: Path) -> Iterator[None]:
    """Errors of the disk in the block become ours.

    Raises:
        StorageError: DISK_FULL or DISK_FAILED.
    """
    try:
        yield
    except GenepoolError:
        raise
    except OSError as exc:
        raise disk_errors.told(exc, str(where)) from exc
