"""How server and child talk: JSON objects over one socket, each after its length in four bytes."""

import json
import socket
import struct
import time
from typing import Any, Final

_LENGTH: Final = struct.Struct("!I")


def send(end: socket.socket, value: dict[str, Any]) -> None:
    """Send one object."""
    raw = json.dumps(value).encode()
    end.sendall(_LENGTH.pack(len(raw)) + raw)


def receive(end: socket.socket, deadline: float | None = None) -> dict[str, Any] | None:
    """The next object; None when the other end is gone.

    Args:
        end: this end.
        deadline: by `time.monotonic`; None: wait for ever.

    Raises:
        TimeoutError: the deadline passed.
    """
    head = _exactly(end, _LENGTH.size, deadline)
    raw = None if head is None else _exactly(end, _LENGTH.unpack(head)[0], deadline)
    if raw is None:
        return None
    value: dict[str, Any] = json.loads(raw)
    return value


def _exactly(end: socket.socket, size: int, deadline: float | None) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        end.settimeout(None if deadline is None else max(deadline - time.monotonic(), 1e-3))
        try:
            part = end.recv(size - len(parts))
        except ConnectionError:
            return None
        if not part:
            return None
        parts += part
    return bytes(parts)
