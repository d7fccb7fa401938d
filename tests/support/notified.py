"""A service manager for tests: a socket of its own, and what programs said to it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Manager:
    """Hears datagrams at once, as systemd does; `variables` are what a program is started with."""

    def __init__(self, folder: Path, watchdog: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._path = folder / "notify"
        self._socket.bind(str(self._path))
        self.variables = {"NOTIFY_SOCKET": str(self._path), "WATCHDOG_USEC": str(int(watchdog * 1e6))}
        self.said: list[str] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while datagram := self._socket.recv(4096):
            with self._more:
                self.said += datagram.decode().splitlines()
                self._more.notify_all()

    def hears(self, line: str, seconds: float = 60.0) -> bool:
        """Whether a program says that line, or has said it."""
        with self._more:
            return self._more.wait_for(lambda: line in self.said, seconds)

    def forget(self) -> None:
        """What was said so far no longer counts."""
        with self._more:
            self.said.clear()

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(self._path))
        self._reader.join()
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
