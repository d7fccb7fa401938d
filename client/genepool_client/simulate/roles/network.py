"""A network between one site and the pool that can go away: a relay on loopback, byte for byte."""

import contextlib
import selectors
import socket
import threading
from types import TracebackType
from typing import Self


class Network:
    """Forwards TCP connections to one address while it is there.

    Args:
        target: HOST:PORT of the pool.

    Attributes:
        sent: bytes that went to the pool.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target, self.sent = (host, int(port)), 0
        self._there, self._ended = threading.Event(), threading.Event()
        self._there.set()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, name="network", daemon=True).start()

    @property
    def address(self) -> str:
        """HOST:PORT that stands for the pool."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def go_away(self) -> None:
        """Break every connection, and let none through until `come_back`."""
        self._there.clear()
        with self._lock:
            for ours in self._open:
                with contextlib.suppress(OSError):
                    ours.shutdown(socket.SHUT_RDWR)

    def come_back(self) -> None:
        """Let connections through again."""
        self._there.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it, with all connections."""
        self._ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.go_away()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self._there.is_set():
                near.close()
                continue
            threading.Thread(target=self._lead, args=(near,), daemon=True).start()

    def _lead(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError), socket.create_connection(self._target, 10) as far:
            pair = {near, far}
            with self._lock:
                self._open |= pair
            try:
                self._pump(near, far)
            finally:
                with self._lock:
                    self._open -= pair

    def _pump(self, near: socket.socket, far: socket.socket) -> None:
        with selectors.DefaultSelector() as waiting:
            for source, sink in ((near, far), (far, near)):
                source.settimeout(30)
                waiting.register(source, selectors.EVENT_READ, sink)
            while not self._ended.is_set():
                for key, _ in waiting.select(0.5):
                    source = near if key.fileobj is near else far
                    data = source.recv(1 << 16)
                    if not data:
                        return
                    key.data.sendall(data)
                    self.sent += len(data) if source is near else 0
