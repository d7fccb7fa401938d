"""Private folders that never outlive their owner: deleted at close, or by the next owner when the process was killed.

The owner holds a lock on the folder itself; the kernel gives it back when the process dies. So a folder that can be
locked belongs to nobody, whatever process numbers say.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Self

_log = logging.getLogger(__name__)


class OwnedFolder:
    """A folder of mode 0700 under `parent` whose name starts with `prefix`.

    Folders of the same prefix that dead processes of this user left behind are deleted first.

    Raises:
        OSError: the folder cannot be made.
    """

    def __init__(self, parent: Path, prefix: str) -> None:
        sweep(parent, prefix)
        self.path, self._lock = _create(parent, prefix)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Delete the folder and what it holds; a second call does nothing."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def _create(parent: Path, prefix: str) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        lock = _try_lock(path)
        # another process that sweeps at this moment may have taken the folder before it was locked
        if lock is not None and path.is_dir():
            return path, lock
        if lock is not None:
            os.close(lock)


def _try_lock(path: Path) -> int | None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def sweep(parent: Path, prefix: str) -> list[Path]:
    """Delete the folders of this prefix and user that no living process owns; returns them."""
    swept = []
    for path in sorted(parent.glob(f"{prefix}*")):
        with contextlib.suppress(FileNotFoundError):
            if path.is_symlink() or not path.is_dir() or path.stat().st_uid != os.getuid():
                continue
            lock = _try_lock(path)
            if lock is None:
                continue
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)
            swept.append(path)
            _log.warning("deleted %s, which a process that died had left behind", path)
    return swept
