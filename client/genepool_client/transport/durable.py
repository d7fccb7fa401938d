"""Files that are whole or not there, also after a power failure."""

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any


def write_atomic(path: Path, data: bytes, mode: int = 0o644) -> Path:
    """Write a file so that its name shows the old content or the new one, and the new one once this returns.

    Args:
        path: the file; its folder exists.
        data: the whole content.
        mode: permissions, from the first byte on.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    sync_folder(path.parent)
    return path


def write_json(path: Path, value: Any, mode: int = 0o644) -> Path:
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
