"""What processes hold in their memory, read from outside."""

import contextlib
import itertools
import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

DATABASES = "genepool-pg-"
"""What the folders of the tests' own PostgreSQL begin with, in shared memory."""

_PART = 1 << 20
_PAGE = mmap.PAGESIZE
_HELD = np.uint64(62)
"""Bits of a page's entry from this one on: it is in memory, or swapped out. A page without was never touched."""


def traces(pid: int, markers: Mapping[str, bytes]) -> set[str]:
    """Names of the markers that lie in the process's memory.

    Raises:
        PermissionError: this user may not look.
    """
    found = set()
    process = Path(f"/proc/{pid}")
    with (process / "mem").open("rb", buffering=0) as memory, (process / "pagemap").open("rb", buffering=0) as pages:
        for begin, end, shared in _readable(pid):
            for start in range(begin, end, _PART):
                length = min(_PART + _PAGE, end - start)
                with contextlib.suppress(OSError, ValueError):  # a mapping went, or cannot be read
                    if not shared and not _touched(pages, start, length):
                        continue
                    memory.seek(start)
                    part = memory.read(length)
                    found |= {name for name, marker in markers.items() if marker in part}
    return found


def _touched(pages: BinaryIO, start: int, length: int) -> bool:
    """Whether the process ever wrote or read there; of its own memory, which nobody else writes, most it never does."""
    pages.seek(8 * (start // _PAGE))
    return bool((np.frombuffer(pages.read(8 * (length // _PAGE)), np.uint64) >> _HELD).any())


def in_shared_memory(markers: Mapping[str, bytes]) -> set[str]:
    """Names of the markers that lie in a file of shared memory, other tests' databases left out."""
    found = set()
    databases = (DATABASES, "PostgreSQL.")
    folders = [path for path in Path("/dev/shm").iterdir() if not path.name.startswith(databases)]
    for path in itertools.chain.from_iterable([folder, *folder.rglob("*")] for folder in folders):
        with contextlib.suppress(OSError):
            content = path.read_bytes() if path.is_file() else b""
            found |= {name for name, marker in markers.items() if marker in content}
    return found


def _readable(pid: int) -> Iterator[tuple[int, int, bool]]:
    """Begin and end of all that can be read and written, and whether other processes may write there, too."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        region, mode, *_ = line.split()
        begin, end = (int(one, 16) for one in region.split("-"))
        if mode.startswith("rw"):
            yield begin, end, mode.endswith("s")
