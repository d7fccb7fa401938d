"""The server's end of a child: one request at a time, killed when it breaks its bounds, started again when needed."""

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any, Final

from genepool_protocol.wire.errors import GenepoolError, InvalidInput, Unavailable, error
from genepool_server.confined import wire

_log: Final = logging.getLogger(__name__)

_START_SECONDS: Final = 120.0
_PASSED_ON: Final = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")
"""All that a child knows of the server's environment."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a child may take.

    Attributes:
        memory_bytes: of address space, for ever.
        cpu_seconds: of processor time, for each request.
        wall_seconds: for each request.
    """

    memory_bytes: int
    cpu_seconds: int
    wall_seconds: float


class _DiedError(Exception):
    """The child ended in the middle of a request."""


class ChildWorker:
    """A child for one task. Thread-safe; started by `start` or by the first request.

    Args:
        task: a key of `child.TASKS`.
        bounds: what it may take.
    """

    def __init__(self, task: str, bounds: Bounds) -> None:
        self._task = task
        self._bounds = bounds
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._end: socket.socket | None = None
        self._ready = False
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Of the child that runs."""
        return self._child.pid if self._child is not None else None

    def start(self) -> None:
        """Begin to start the child, so that the first request finds it ready."""
        with self._lock:
            if self._end is None and not self._closed:
                self._spawn()

    def call(self, request: dict[str, Any]) -> dict[str, Any]:
        """The task's answer.

        Raises:
            InvalidInput: CHECK_LIMIT, the request took more than the bounds, or two children did not survive it.
            Unavailable: SERVING_UNAVAILABLE, no child can be started.
            GenepoolError: what the task raised; INTERNAL for a defect of it.
        """
        with self._lock:
            for _ in range(2):  # a child may have been killed for what is not this request's fault
                with contextlib.suppress(_DiedError):
                    return self._outcome(self._ask(request))
            raise _limit("ended the process that looked at it, twice")

    def close(self) -> None:
        """End the child, at once if it is at work; later requests fail."""
        self._closed = True
        self._kill()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        end = self._started()
        try:
            wire.send(end, request)
            response = wire.receive(end, time.monotonic() + self._bounds.wall_seconds)
        except TimeoutError as exc:
            self._kill()
            raise _limit(f"took more than {self._bounds.wall_seconds:g} seconds") from exc
        except OSError:
            response = None
        if response is None:
            child = self._child
            self._kill()
            _log.warning("the process for %s ended with %s", self._task, child and child.returncode)
            raise _DiedError
        return response

    def _outcome(self, answer: dict[str, Any]) -> dict[str, Any]:
        if "limit" in answer:
            self._kill()  # its memory is in pieces
            raise _limit(f"took more {answer['limit']} than is allowed")
        if "error" in answer:
            failure = answer["error"]
            raise error(failure["reason"], failure["message"], failure["fix"], **failure["metadata"])
        if "defect" in answer:
            _log.error("the process for %s met a defect: %s", self._task, answer["defect"])
            raise GenepoolError("INTERNAL", f"the process for {self._task} met a defect; its cause is in the log")
        value: dict[str, Any] = answer["value"]
        return value

    def _started(self) -> socket.socket:
        if self._closed:
            raise Unavailable("SERVING_UNAVAILABLE", "the server is going down", "try again later")
        ours = self._end or self._spawn()
        if not self._ready:
            self._await_ready(ours)
        return ours

    def _spawn(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "genepool_server.confined.child",
                    self._task,
                    str(theirs.fileno()),
                    *self._limits,
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=_environment(),
                cwd="/",
            )
        self._end, self._ready = ours, False
        return ours

    def _await_ready(self, ours: socket.socket) -> None:
        try:
            ready = wire.receive(ours, time.monotonic() + _START_SECONDS)
        except TimeoutError:
            ready = None
        if ready is None:
            self._kill()
            raise Unavailable(
                "SERVING_UNAVAILABLE", f"no process for {self._task} could be started", "see the server's log"
            )
        self._ready = True

    @property
    def _limits(self) -> list[str]:
        return [str(self._bounds.memory_bytes), str(self._bounds.cpu_seconds)]

    def _kill(self) -> None:
        child, end = self._child, self._end
        self._child = self._end = None
        if child is not None:
            child.kill()
            child.wait()
        if end is not None:
            end.close()


def _environment() -> dict[str, str]:
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return {**passed_on, **threads, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _limit(what: str) -> InvalidInput:
    return InvalidInput("CHECK_LIMIT", f"checking the learngene {what}", "pack it again with genepool")
