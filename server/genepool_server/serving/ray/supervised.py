"""The seam on Ray as the server holds it: when Ray dies it is started again, and what was at work is done again."""

import asyncio
import contextlib
import logging
import pickle
import shutil
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from typing import Any, Final

from genepool_protocol.machine import launching
from genepool_protocol.wire.errors import GenepoolError, Unavailable
from genepool_server.serving.config import ServingConfig
from genepool_server.serving.dispatcher import Crew, Verb, drained, lost
from genepool_server.serving.ray.link import RayLink

_log = logging.getLogger(__name__)

_ATTEMPTS: Final = 2
_PATIENCE: Final = 5.0  # seconds that Ray's processes get to end by themselves
_WAIT: Final = 30.0  # seconds that a call waits for a Ray that is being started
_LONGEST_PAUSE: Final = 30.0  # seconds between two attempts to start Ray
_LOOK: Final = 0.05  # seconds


class SupervisedRay:
    """See `dispatcher.Dispatcher`. Ray lives in a process of its own, and its death ends nothing of the server.

    A call that Ray does not survive is done once more by the next Ray: everything that workers do is a pure function of
    files and arguments. Calls wait for a Ray that is being started, and hear SERVING_UNAVAILABLE when that takes long.

    Raises:
        InvalidInput: CONFIG_INVALID, the temporary folder's path is too long.
    """

    def __init__(self, config: ServingConfig) -> None:
        self._config = config
        self._folder = launching.ray_folder(config.temp_dir)
        self._link: RayLink | None = None
        self._starting: RayLink | None = None
        self._failure: GenepoolError | None = None
        self._restarts = 0
        self._settled = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="ray-supervisor", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Block until every worker answers for the first time.

        Raises:
            Unavailable: SERVING_UNAVAILABLE, Ray did not start twice in a row.
        """
        self._settled.wait()
        if self._failure is not None:
            raise self._failure

    @property
    def lanes(self) -> int:
        """See `dispatcher.Dispatcher`."""
        return max(1, self._config.workers) * self._config.score_threads

    @property
    def crew(self) -> Crew:
        """See `dispatcher.Dispatcher`."""
        link, workers = self._link, self._config.workers
        return Crew(workers, workers if link is not None and not link.ended.is_set() else 0, self._restarts)

    async def submit(self, verb: Verb, *args: Any) -> Any:
        """See `dispatcher.Dispatcher`."""
        async with contextlib.aclosing(self._events("submit", verb, args)) as events:
            async for value in events:
                return value if verb == "ping" else pickle.loads(value)  # noqa: S301 - of our own worker
        raise lost()

    async def stream(self, verb: Verb, *args: Any) -> AsyncIterator[Any]:
        """See `dispatcher.Dispatcher`."""
        async with contextlib.aclosing(self._events("stream", verb, args)) as events:
            async for value in events:
                yield value

    def resize(self, workers: int) -> None:
        """See `dispatcher.Dispatcher`."""
        self._config = replace(self._config, workers=workers)
        if self._link is not None:
            self._link.tell("resize", (workers,))

    def drain(self) -> None:
        """See `dispatcher.Dispatcher`; blocks until Ray's processes are gone. A second call does nothing."""
        self._stop.set()
        for link in (self._link, self._starting):
            if link is not None:
                link.end(_PATIENCE)
        self._thread.join()
        self._folder.close()

    async def _events(self, kind: str, verb: Verb, args: tuple[Any, ...]) -> AsyncGenerator[Any]:
        """What a call answers, from the first item on again when Ray died."""
        loop = asyncio.get_running_loop()
        for _ in range(_ATTEMPTS):
            events: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
            link = await self._running(0.0 if verb == "ping" else _WAIT)

            def deliver(what: str, payload: Any, events: Any = events) -> None:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                    loop.call_soon_threadsafe(events.put_nowait, (what, payload))

            number = link.open(kind, (verb, pickle.dumps(args)), deliver)
            try:
                while (event := await events.get())[0] != "lost":
                    what, payload = event
                    if what == "error":
                        raise payload
                    if what == "item" or kind == "submit":
                        yield payload
                    if what == "value":
                        return
            except asyncio.CancelledError:
                link.cancel(number)
                while (await events.get())[0] == "item":
                    pass
                raise
            finally:
                link.close(number)
        raise lost()

    async def _running(self, seconds: float) -> RayLink:
        deadline = time.monotonic() + seconds
        while True:
            link = self._link
            if self._stop.is_set() or not self._config.workers:
                raise drained()
            if link is not None and not link.ended.is_set():
                return link
            if time.monotonic() >= deadline:
                raise Unavailable(
                    "SERVING_UNAVAILABLE", "the pool's workers are starting", "try again in a minute", retry_seconds="5"
                )
            await asyncio.sleep(_LOOK)  # it comes and goes on another thread

    def _supervise(self) -> None:
        failures = 0
        while not self._stop.is_set():
            link = self._started()
            if link is None:
                failures += 1
                if failures >= _ATTEMPTS:
                    self._settled.set()
                self._stop.wait(min(2.0**failures, _LONGEST_PAUSE))
                continue
            failures, self._failure, self._link = 0, None, link
            self._settled.set()
            link.ended.wait()
            self._link = None
            link.end(0.0)
            if not self._stop.is_set():
                self._restarts += 1
                _log.error("Ray died; it is started again, and what it was doing is done again")
        self._settled.set()

    def _started(self) -> RayLink | None:
        shutil.rmtree(self._folder.path / "ray", ignore_errors=True)
        link = self._starting = RayLink(self._config, self._folder.path)
        try:
            if self._stop.is_set():
                link.end(0.0)
            link.wait_ready(self._config.start_seconds)
        except GenepoolError as exc:
            link.end(0.0)
            if not self._stop.is_set():
                _log.warning("Ray did not start: %s", exc.diagnostics())
                self._failure = exc
            return None
        else:
            return link
        finally:
            self._starting = None
