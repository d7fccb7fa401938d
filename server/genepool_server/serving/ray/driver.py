"""`python -m genepool_server.serving.ray.driver FD`: the process that holds Ray, so that the server need not.

Ray's library ends its process when Ray dies. This process speaks with the server over a socket that nobody else holds:
it takes (number, verb, arguments), and answers (number, what, payload) in any order. It ends when the server hangs up,
or when Ray dies; the server then starts another one.
"""

import asyncio
import contextlib
import logging
import os
import pickle
import sys
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from genepool_protocol.machine.launching import no_core_dumps
from genepool_protocol.wire.errors import GenepoolError, Unavailable
from genepool_server.serving.config import ServingConfig
from genepool_server.serving.ray import runtime

RAY_DIED: Final = 3
"""Exit code."""

NOBODY: Final = 0
"""Number of what belongs to no call."""

Say = Callable[[int, str, Any], None]


def main(number: int) -> None:
    """Serve until the server hangs up."""
    no_core_dumps()
    connection = Connection(number)
    lock = threading.Lock()

    def say(call: int, what: str, payload: Any) -> None:
        with lock:
            connection.send((call, what, payload))

    logging.getLogger().addHandler(_Telling(say))
    with contextlib.suppress(EOFError, BrokenPipeError):  # the server is gone
        config, folder = connection.recv()
        try:
            runtime.start(config, Path(folder))
            asyncio.run(_serve(connection, say, config))
        except GenepoolError as exc:
            say(NOBODY, "failed", exc)
        except Exception as exc:  # noqa: BLE001 - the server says it to the operator
            say(NOBODY, "failed", _not_started(exc))
    runtime.stop()


def _not_started(exc: Exception) -> Unavailable:
    what = f"Ray did not start ({type(exc).__name__})"
    return Unavailable("SERVING_UNAVAILABLE", what, "free memory and shared memory, and start again")


async def _serve(connection: "Connection[Any, Any]", say: Say, config: ServingConfig) -> None:
    from genepool_server.serving.ray.dispatcher import RayDispatcher

    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    workers = RayDispatcher(config)
    await asyncio.to_thread(workers.wait, config.start_seconds)
    calls = _Calls(workers, say)

    def listen() -> None:
        try:
            while True:
                loop.call_soon_threadsafe(calls.take, *connection.recv())
        except (EOFError, OSError):
            loop.call_soon_threadsafe(ended.set)

    def watch() -> None:
        runtime.wait_for_its_death()
        if not ended.is_set():
            os._exit(RAY_DIED)  # before Ray's library does something about it

    for work in (listen, watch):
        threading.Thread(target=work, name=f"ray-{work.__name__}", daemon=True).start()
    say(NOBODY, "ready", None)
    await ended.wait()
    workers.drain()


class _Calls:
    """The server's calls that are at work. For one event loop."""

    def __init__(self, workers: Any, say: Say) -> None:
        self._workers = workers
        self._say = say
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def take(self, number: int, verb: str, args: tuple[Any, ...]) -> None:
        """Begin, or end, a call."""
        match verb:
            case "submit" | "stream":
                task = self._tasks[number] = asyncio.get_running_loop().create_task(self._run(number, verb, args))
                task.add_done_callback(partial(self._over, number))
            case "cancel":
                if number in self._tasks:
                    self._tasks[number].cancel()
            case "resize":
                self._workers.resize(*args)

    async def _run(self, number: int, verb: str, args: tuple[Any, ...]) -> None:
        try:
            if verb == "submit":
                self._say(number, "value", await self._workers.submit(*args))
            else:
                async for item in self._workers.stream(*args):
                    self._say(number, "item", item)
                self._say(number, "value", None)
        except GenepoolError as exc:
            self._say(number, "error", exc)
        except Exception:
            logging.getLogger(__name__).exception("a call of the workers failed")
            self._say(number, "error", GenepoolError("INTERNAL", "the pool's worker failed"))

    def _over(self, number: int, task: asyncio.Task[None]) -> None:
        """Say the end of a call that nobody wants any more, for somebody may wait for it; it may never have begun."""
        del self._tasks[number]
        if task.cancelled():
            self._say(number, "value", None)


class _Telling(logging.Handler):
    """What this process logs is said in the server's log."""

    def __init__(self, say: Say) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        try:
            self._say(NOBODY, "log", (record.levelno, text))
        except (OSError, pickle.PicklingError):
            self.handleError(record)


if __name__ == "__main__":
    main(int(sys.argv[1]))
