"""A service manager for tests: a socket of its own, and what programs said to it."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Manager:
    """Hears datagrams; `variables` are what a program is started with."""

    def __init__(self, folder: Path, watchdog: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._path = folder / "notify"
        self._socket.bind(str(self._path))
        self.variables = {"NOTIFY_SOCKET": str(self._path), "WATCHDOG_USEC": str(int(watchdog * 1e6))}
        self.said: list[str] = []

    def hears(self, line: str, seconds: float = 60.0) -> bool:
        """Whether a program says that line, or has said it."""
        deadline = time.monotonic() + seconds
        while line not in self.said:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                self.said += self._socket.recv(4096).decode().splitlines()
            except TimeoutError:
                return False
        return True

    def close(self) -> None:
        self._socket.close()
        self._path.unlink()


@contextmanager
def manager(folder: Path, watchdog: float = 2.0) -> Iterator[Manager]:
    """One that waits so many seconds for a sign of life."""
    listening = Manager(folder, watchdog)
    try:
        yield listening
    finally:
        listening.close()
