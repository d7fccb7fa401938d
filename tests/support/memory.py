"""What processes hold in their memory, read from outside."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

_PART = 16 << 20


def traces(pid: int, markers: Mapping[str, bytes]) -> set[str]:
    """Names of the markers that lie in the process's memory.

    Raises:
        PermissionError: this user may not look.
    """
    found = set()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for begin, end in _readable(pid):
            for start in range(begin, end, _PART):
                with contextlib.suppress(OSError, ValueError):  # a mapping went, or cannot be read
                    memory.seek(start)
                    part = memory.read(min(_PART + 4096, end - start))
                    found |= {name for name, marker in markers.items() if marker in part}
    return found


def in_shared_memory(markers: Mapping[str, bytes]) -> set[str]:
    """Names of the markers that lie in a file of shared memory."""
    found = set()
    for path in Path("/dev/shm").rglob("*"):
        with contextlib.suppress(OSError):
            content = path.read_bytes() if path.is_file() else b""
            found |= {name for name, marker in markers.items() if marker in content}
    return found


def _readable(pid: int) -> Iterator[tuple[int, int]]:
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        region, mode, *_ = line.split()
        begin, end = (int(one, 16) for one in region.split("-"))
        if mode.startswith("rw"):
            yield begin, end
