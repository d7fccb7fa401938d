"""A small HTTP proxy that knows CONNECT and nothing else."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ConnectProxy:
    """Lets every client through to one place, whatever it asks for, or refuses it.

    Args:
        target: (host, port) that every name stands for.
        status: what is answered; 200 lets through.

    Attributes:
        address: HOST:PORT of its own.
        asked: HOST:PORT of every request.
        logins: its Proxy-Authorization, where there was one.
    """

    def __init__(self, target: tuple[str, int], status: int = 200) -> None:
        self._target, self._status = target, status
        self.asked: list[str] = []
        self.logins: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, IndexError):
            head = b""
            while b"\r\n\r\n" not in head:
                data = client.recv(4096)
                if not data:
                    return
                head += data
            first, *lines = head.decode("latin-1").split("\r\n")
            self.asked.append(first.split()[1])
            self.logins += [
                line.partition(": ")[2] for line in lines if line.lower().startswith("proxy-authorization:")
            ]
            client.sendall(f"HTTP/1.1 {self._status} as told\r\n\r\n".encode())
            if self._status == 200:
                with socket.create_connection(self._target) as server:
                    _both_ways(client, server)

    def close(self) -> None:
        self._listener.close()


def _both_ways(client: socket.socket, server: socket.socket) -> None:
    back = threading.Thread(target=_pump, args=(server, client), daemon=True)
    back.start()
    _pump(client, server)
    back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def connect_proxy(target: tuple[str, int], status: int = 200) -> Iterator[ConnectProxy]:
    """One that is closed after the block."""
    proxy = ConnectProxy(target, status)
    try:
        yield proxy
    finally:
        proxy.close()
