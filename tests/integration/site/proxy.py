"""A network between client and pool that breaks when it is told to."""

import contextlib
import socket
import threading


class Proxy:
    """Forwards TCP connections on loopback, byte for byte.

    Args:
        target: (host, port) of the pool.
        greeting: what every connection to the pool begins with.

    Attributes:
        sent: bytes that went from clients to the pool.
        cut_after: when so many have gone, every connection is closed, once.
        stall_after: when so many have gone, nothing more goes through.
        away: connections are closed as soon as they are made.
    """

    def __init__(self, target: tuple[str, int], greeting: bytes = b"") -> None:
        self.target, self.greeting, self.sent = target, greeting, 0
        self.cut_after: int | None = None
        self.stall_after: int | None = None
        self.cuts, self.away = 0, False
        self.stalled = threading.Event()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return self._listener.getsockname()[1]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.away:
                    client.close()
                    continue
                try:
                    server = socket.create_connection(self.target)
                    server.sendall(self.greeting)
                except OSError:
                    client.close()
                    continue
                self._open += [client, server]
                threading.Thread(target=self._pump, args=(client, server), kwargs={"up": True}, daemon=True).start()
                threading.Thread(target=self._pump, args=(server, client), kwargs={"up": False}, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, *, up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if up and self.stall_after is not None and self.sent >= self.stall_after:
                    self.stalled.set()
                    return
                if up:
                    self.sent += len(data)
                sink.sendall(data)
                if up and self.cut_after is not None and self.sent >= self.cut_after:
                    self.cut_after = None
                    self.cut()
                    return
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def mend(self) -> None:
        """Whole again, and nothing has gone through yet."""
        self.cut()
        self.sent, self.cuts, self.away = 0, 0, False
        self.cut_after = self.stall_after = None
        self.stalled.clear()

    def cut(self) -> None:
        """Break every connection."""
        self.cuts += 1
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def close(self) -> None:
        self._listener.close()
        self.cut()
