"""Files that are whole or not there, also after a power failure; private unless it is said otherwise.

Everything that a client writes goes through here, or through `genepool_protocol.private_files`.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from genepool_protocol.private_files import FILE


def write_atomic(path: Path, data: bytes, mode: int = FILE) -> Path:
    """Write a file so that its name shows the old content or the new one, and the new one once this returns.

    Args:
        path: the file; its folder exists.
        data: the whole content.
        mode: permissions, from the first byte on, whatever the umask.
    """
    with replacing(path, mode) as file:
        file.write(data)
    return path


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


def write_json(path: Path, value: Any, mode: int = FILE) -> Path:
    """Write a JSON document for people and programs, atomically."""
    return write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n", mode)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """Remove a file, durably; nothing happens when it is not there."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)
