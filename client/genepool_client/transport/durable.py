"""Files that are whole or not there, also after a power failure; private unless it is said otherwise.

Everything that a client writes goes through here, or through `genepool_protocol.private_files`.
"""

import json
from pathlib import Path
from typing import Any

from genepool_protocol.private_files import FILE, replacing, sync_folder


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


def write_json(path: Path, value: Any, mode: int = FILE) -> Path:
    """Write a JSON document for people and programs, atomically."""
    return write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n", mode)


def remove(path: Path) -> None:
    """Remove a file, durably; nothing happens when it is not there."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)
