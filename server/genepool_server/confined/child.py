"""The child: `python -m genepool_server.confined.child TASK FD MEMORY CPU` answers until the server is gone."""

import errno
import importlib
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any, Final

from genepool_protocol.wire.errors import GenepoolError
from genepool_server.confined import wire

Task = Callable[[dict[str, Any]], dict[str, Any]]

TASKS: Final = {
    "check": "genepool_server.confined.checker",
    "review": "genepool_server.confined.screener",
}
"""Modules whose function `run` answers a request; nothing else is ever imported by name."""


def main(task: str, number: int, memory: int, cpu: int) -> None:
    """Serve one task until the socket is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's business, which then closes the socket
    _limit(resource.RLIMIT_AS, memory)
    _limit(resource.RLIMIT_CORE, 0)
    run: Task = importlib.import_module(TASKS[task]).run
    _limit(resource.RLIMIT_FSIZE, 0)  # from now on it only reads, and its own words go over the socket
    with socket.socket(fileno=number) as end:
        wire.send(end, {"ready": True})
        while (request := wire.receive(end)) is not None:
            _more_time(cpu)
            wire.send(end, _answer(run, request))


def _answer(run: Task, request: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"value": run(request)}
    except GenepoolError as exc:
        if isinstance(exc.__cause__, OSError) and exc.__cause__.errno == errno.ENOMEM:
            return {"limit": "memory"}
        return {"error": {"reason": exc.reason, "message": exc.message, "fix": exc.fix, "metadata": exc.metadata}}
    except MemoryError:
        return {"limit": "memory"}
    except Exception:  # noqa: BLE001 - whatever a file makes of us is an answer; the server logs the cause
        return {"defect": traceback.format_exc(limit=-8)[-4000:]}


def _limit(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (value, value))


def _more_time(seconds: int) -> None:
    """The kernel ends this process when the next request takes longer; the count runs since the process began."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, hard))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]))
