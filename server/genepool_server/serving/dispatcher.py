"""The seam between serving and its workers, and two ways to run them.

`submit` asks for one answer, `stream` for several, `resize` changes how many workers there are, `drain` ends them.
`InlineDispatcher` runs the very same `Worker` on threads of the front's own process; `supervised` runs it on Ray.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from genepool_protocol.wire.errors import GenepoolError, Unavailable
from genepool_server.serving.config import ServingConfig

if TYPE_CHECKING:
    from genepool_server.serving.worker import Worker  # loads torch

_log = logging.getLogger(__name__)

Verb = Literal["task_embedding", "score", "slopes", "build", "ping"]
"""A method of the worker."""

CANCELLABLE: Final[frozenset[Verb]] = frozenset({"score", "slopes"})
"""Verbs whose last argument tells whether the answer is still wanted."""


@dataclass(frozen=True, slots=True)
class Crew:
    """The worker processes.

    Attributes:
        wanted: how many there should be.
        running: how many the Ray that runs has; 0 while it is started again.
        restarts: how often Ray was started again.
    """

    wanted: int
    running: int
    restarts: int


class Dispatcher(Protocol):
    """Runs methods of workers. For one event loop.

    All methods raise what the worker raised (our errors), or Unavailable SERVING_UNAVAILABLE, BUSY or TOO_SLOW, or a
    plain GenepoolError INTERNAL; never the text of the framework below.
    """

    @property
    def lanes(self) -> int:
        """How many candidates are scored at the same time."""
        ...

    @property
    def crew(self) -> Crew:
        """The worker processes at this moment."""
        ...

    async def submit(self, verb: Verb, *args: Any) -> Any:
        """The answer of one call, done again once when the worker dies.

        Cancelling it cancels the work, and lasts until the work has really ended: whoever gives up and asks again at
        once would else have more at work than its share.
        """
        ...

    def stream(self, verb: Verb, *args: Any) -> AsyncIterator[Any]:
        """The answers of one call. When the worker dies it starts over once: answers come again from the first one."""
        ...

    def resize(self, workers: int) -> None:
        """From now on there are so many workers."""
        ...

    def drain(self) -> None:
        """End the workers; what is at work is lost, and everything asked later is refused."""
        ...


class InlineDispatcher:
    """Workers that are threads of this process. Ends nothing but itself; the results are those of Ray's workers.

    The worker is made by the first call, on its thread: a pool that nobody asks anything never loads torch.
    """

    def __init__(self, config: ServingConfig) -> None:
        self.lanes = config.score_threads
        self._mapped = config.mapped_files
        self._making = threading.Lock()
        self._worker: Worker | None = None
        self._threads = ThreadPoolExecutor(config.score_threads + config.slots, thread_name_prefix="genepool-worker")
        self._drained = False

    @property
    def crew(self) -> Crew:
        """None: the workers are threads of this process."""
        return Crew(0, 0, 0)

    async def submit(self, verb: Verb, *args: Any) -> Any:
        """See `Dispatcher`."""
        if verb == "ping":
            self._check()
            return 0
        given_up = threading.Event()
        if verb in CANCELLABLE:
            args = (*args, given_up.is_set)
        return await self._run(self._call, verb, *args, given_up=given_up)

    async def stream(self, verb: Verb, *args: Any) -> AsyncIterator[Any]:
        """See `Dispatcher`."""
        answers, end = iter(await self._run(self._call, verb, *args)), object()
        while (item := await self._run(next, answers, end)) is not end:
            yield item

    def resize(self, workers: int) -> None:
        """See `Dispatcher`; the number of threads stays what it is."""
        self._check()
        if workers != 0:
            raise Unavailable(
                "SERVING_UNAVAILABLE", "a pool that serves inline has no workers", "set workers and restart"
            )

    def drain(self) -> None:
        """See `Dispatcher`."""
        self._drained = True
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _call(self, verb: Verb, *args: Any) -> Any:
        with self._making:
            if self._worker is None:
                self._worker = _new_worker(self._mapped)
        return getattr(self._worker, verb)(*args)

    async def _run(self, function: Callable[..., Any], *args: Any, given_up: threading.Event | None = None) -> Any:
        self._check()
        work = self._threads.submit(function, *args)
        try:
            return await asyncio.wrap_future(work)
        except GenepoolError:
            raise
        except asyncio.CancelledError:
            if self._drained and not _is_cancelled():
                raise drained() from None
            if given_up is not None and not work.done():
                given_up.set()
                await asyncio.wait([asyncio.wrap_future(work)])
            raise
        except Exception as exc:
            _log.exception("a worker failed")
            raise GenepoolError("INTERNAL", "the pool's worker failed", "the cause is in the server's log") from exc

    def _check(self) -> None:
        if self._drained:
            raise drained()


def _new_worker(mapped: int) -> "Worker":
    import torch

    from genepool_server.serving.worker import Worker

    torch.set_num_threads(1)
    return Worker(mapped)


def _is_cancelled() -> bool:
    """Whether somebody cancels this task; a local that held it would keep it alive with all that it knows."""
    task = asyncio.current_task()
    return task is None or bool(task.cancelling())


def lost() -> Unavailable:
    """The error of work that two workers in a row did not survive."""
    return Unavailable(
        "SERVING_UNAVAILABLE",
        "the pool's worker stopped while it was at work",
        "try again in a minute",
        retry_seconds="10",
    )


def drained() -> Unavailable:
    """The error of everything that is asked after `drain`."""
    return Unavailable("SERVING_UNAVAILABLE", "the pool is going down", "try again in a minute", retry_seconds="10")


def split(items: Sequence[Any], lanes: int, most: int = 16) -> list[Sequence[Any]]:
    """Shards of at most `most` items, small enough that every lane gets about four."""
    size = max(1, min(most, -(-len(items) // (4 * lanes))))
    return [items[start : start + size] for start in range(0, len(items), size)]
