"""The server's end of one Ray: the process that holds it is started, talked to, and ended with all that it started."""

import contextlib
import itertools
import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from genepool_protocol.machine import launching
from genepool_protocol.wire.errors import GenepoolError, Unavailable
from genepool_server.serving.config import ServingConfig
from genepool_server.serving.ray.driver import NOBODY

_log = logging.getLogger("genepool_server.serving.ray")

Deliver = Callable[[str, Any], None]
"""Called on a thread of the link with (what, payload): `item`, and at last `value`, `error` or `lost`."""


class RayLink:
    """One Ray, from its start to its end. Thread-safe; it is never used again after it has ended.

    Args:
        config: its sizes.
        folder: a private one, for its token and its files.
    """

    def __init__(self, config: ServingConfig, folder: Path) -> None:
        self.ended = threading.Event()
        self._ready = threading.Event()
        self._failure: GenepoolError | None = None
        self._numbers = itertools.count(NOBODY + 1)
        self._calls: dict[int, Deliver] = {}
        self._lock = threading.Lock()
        self._ending = threading.Lock()
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = _spawn(theirs, folder)
        self._connection = Connection(ours.detach())
        self._outbox.put((config, str(folder / "ray")))
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._listen, self._talk)]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Of the process that holds Ray, which leads the group of all of Ray's."""
        return self._process.pid

    def wait_ready(self, seconds: float) -> None:
        """Block until the workers answer.

        Raises:
            Unavailable: SERVING_UNAVAILABLE, they did not in that time, or Ray did not start.
            InvalidInput: CONFIG_INVALID.
        """
        self._ready.wait(seconds)
        if self._ready.is_set() and not self.ended.is_set():
            return
        raise self._failure or Unavailable(
            "SERVING_UNAVAILABLE",
            f"Ray and the pool's workers did not start within {seconds:.0f} seconds",
            "free memory and shared memory, and look at the server's log",
        )

    def open(self, verb: str, args: tuple[Any, ...], deliver: Deliver) -> int:
        """Begin a call; its number is for `close`."""
        number = next(self._numbers)
        with self._lock:
            if not self.ended.is_set():
                self._calls[number] = deliver
                self._outbox.put((number, verb, args))
                return number
        deliver("lost", None)
        return number

    def close(self, number: int) -> None:
        """Nobody listens to that call any more; when it is at work it is cancelled."""
        with self._lock:
            if self._calls.pop(number, None) is not None:
                self._outbox.put((number, "cancel", ()))

    def cancel(self, number: int) -> None:
        """Cancel a call; its last event says that the work has ended."""
        with self._lock:
            if number in self._calls:
                self._outbox.put((number, "cancel", ()))

    def tell(self, verb: str, args: tuple[Any, ...]) -> None:
        """Say something that is not answered."""
        self._outbox.put((NOBODY, verb, args))

    def end(self, patience: float) -> None:
        """Hang up; Ray's processes are gone when this returns. A second call does nothing.

        Args:
            patience: seconds that they get to end by themselves.
        """
        self._outbox.put(None)
        self.ended.wait(patience)
        with self._ending:
            if self._process.returncode is None:  # it is not reaped yet, so the number is still its own
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
                self._process.wait()
                for thread in self._threads:
                    thread.join()
                self._connection.close()

    def _listen(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                number, what, payload = self._connection.recv()
                self._hear(number, what, payload)
        with self._lock:
            self.ended.set()
            calls, self._calls = self._calls, {}
        self._ready.set()
        self._outbox.put(None)
        for deliver in calls.values():
            deliver("lost", None)

    def _hear(self, number: int, what: str, payload: Any) -> None:
        match what:
            case "log":
                _log.log(*payload)
            case "ready":
                self._ready.set()
            case "failed":
                self._failure = payload
            case _:
                with self._lock:
                    deliver = self._calls.get(number) if what == "item" else self._calls.pop(number, None)
                if deliver is not None:
                    deliver(what, payload)

    def _talk(self) -> None:
        with contextlib.suppress(OSError):
            while (message := self._outbox.get()) is not None:
                self._connection.send(message)
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as end:
            end.shutdown(socket.SHUT_WR)  # the other end sees it, and closes its own, which ends the listener


def _spawn(end: socket.socket, folder: Path) -> "subprocess.Popen[bytes]":
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, "-m", "genepool_server.serving.ray.driver", str(end.fileno())],
        pass_fds=[end.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # Ray says there what it thinks of dead workers; what matters is logged
        stderr=subprocess.DEVNULL,
        env=launching.environment(launching.ray_environment(folder), _TUNING, path),
        cwd=folder,
        umask=launching.UMASK,
        process_group=0,  # Ctrl-C is the server's business, and all of Ray can be killed at once
    )


_TUNING: Final = {
    "RAY_gcs_rpc_server_reconnect_timeout_s": "20",  # how long agents outlive what started them
    "RAY_worker_niceness": "0",  # selecting and building is what this machine is for
    "RAY_preallocate_plasma_memory": "1",  # a store that was given its pages cannot run out of them later
}
