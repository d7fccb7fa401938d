"""Other callers on one machine: a relay that connects to a server from another loopback address, 127.0.0.x.

gRPC for Python cannot choose the address that it connects from; a socket can.
"""

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from genepool_protocol.trust.anchors import Anchors


@contextmanager
def seen_as(address: str, anchors: Anchors) -> Iterator[Anchors]:
    """Anchors whose connections reach the pool from `address`."""
    host, _, port = anchors.address.rpartition(":")
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        threads = [threading.Thread(target=_accept, args=(listener, (host, int(port)), address, stop), daemon=True)]
        threads[0].start()
        try:
            yield anchors.model_copy(update={"address": f"127.0.0.1:{listener.getsockname()[1]}"})
        finally:
            stop.set()
            threads[0].join()


def _accept(listener: socket.socket, target: tuple[str, int], source: str, stop: threading.Event) -> None:
    pumps = []
    while not stop.is_set():
        with suppress(TimeoutError):
            near, _ = listener.accept()
            far = socket.create_connection(target, 10, source_address=(source, 0))
            pumps.append(threading.Thread(target=_pump, args=(near, far, stop), daemon=True))
            pumps[-1].start()
    for pump in pumps:
        pump.join()


def _pump(near: socket.socket, far: socket.socket, stop: threading.Event) -> None:
    """Carry bytes both ways until one end closes; a reader that takes nothing holds the other side up."""
    with near, far, selectors.DefaultSelector() as waiting, suppress(OSError):
        for one, other in ((near, far), (far, near)):
            one.settimeout(30)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # Nagle's wait of 40 ms is no server's
            waiting.register(one, selectors.EVENT_READ, other)
        while not stop.is_set():
            for key, _ in waiting.select(0.1):
                raw = key.fileobj.recv(1 << 16)
                if not raw:
                    return
                key.data.sendall(raw)
