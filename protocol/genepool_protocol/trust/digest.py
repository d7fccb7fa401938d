"""SHA-256 in lower-case hex, the only digest of the protocol."""

import hashlib
import re
from pathlib import Path
from typing import Final

_HEX: Final = re.compile(r"[0-9a-f]{64}")


def sha256_hex(data: bytes | bytearray | memoryview) -> str:
    """The digest of bytes."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """The digest of a file's content, streamed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_sha256_hex(text: str) -> bool:
    """Whether this is a digest in the one form that is accepted."""
    return bool(_HEX.fullmatch(text))
