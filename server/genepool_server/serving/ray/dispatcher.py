"""The seam on Ray: long-lived actors, replaced when they die."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import ray
import ray.exceptions

from genepool_protocol.wire.errors import Unavailable
from genepool_server.serving.config import ServingConfig
from genepool_server.serving.dispatcher import Verb, drained, lost
from genepool_server.serving.ray import actors, failures

_log = logging.getLogger(__name__)

_ATTEMPTS: Final = 2
_AHEAD: Final = 8
"""Answers of a stream that a worker may be ahead of its reader."""


@dataclass(slots=True, eq=False)
class _Seat:
    """A worker's place: the actor changes when it dies."""

    actor: Any
    busy: int = 0


class RayDispatcher:
    """Hands packed calls to workers; see `dispatcher.Dispatcher`. Lives where Ray runs.

    A worker that dies is replaced at once, and what it was doing is done again once: everything that workers do is a
    pure function of files and arguments.
    """

    def __init__(self, config: ServingConfig) -> None:
        self._config = config
        self._class = actors.worker_class(config.score_threads, config.slots)
        self._seats = [_Seat(self._fresh()) for _ in range(config.workers)]
        self._turns = asyncio.Semaphore(self.lanes + config.workers)
        self._drained = False

    def wait(self, seconds: float) -> None:
        """Block until every worker answers.

        Raises:
            Unavailable: SERVING_UNAVAILABLE, one did not in that time.
        """
        pings = [seat.actor.ping.options(concurrency_group="ctl").remote() for seat in self._seats]
        try:
            ray.get(pings, timeout=seconds)
        except ray.exceptions.RayError as exc:
            raise Unavailable(
                "SERVING_UNAVAILABLE",
                f"the pool's workers did not start within {seconds:.0f} seconds",
                "free memory, and look at the server's log",
            ) from exc

    @property
    def lanes(self) -> int:
        """See `dispatcher.Dispatcher`."""
        return max(1, len(self._seats)) * self._config.score_threads

    async def submit(self, verb: Verb, packed: bytes) -> Any:
        """The packed answer of a call; of a ping, the worker's process number."""
        if verb == "ping":
            return await self._submit(verb, ())
        async with self._turns:  # the queue is here and not at a worker, so whoever is free takes the next shard
            return await self._submit("call", (verb, packed))

    async def stream(self, verb: Verb, packed: bytes) -> AsyncIterator[int]:
        """The numbers that a call yields."""
        for attempt in range(_ATTEMPTS):
            with self._seat() as seat:
                method = seat.actor.stream.options(
                    concurrency_group=actors.GROUPS[verb],
                    num_returns="streaming",
                    _generator_backpressure_num_objects=_AHEAD,
                )
                actor = seat.actor
                try:
                    async for ref in method.remote(verb, packed):
                        yield await ref
                except failures.LOST as exc:
                    self._replace(seat, actor)
                    if attempt + 1 == _ATTEMPTS or self._drained:
                        raise lost() from exc
                except Exception as exc:
                    raise failures.translate(exc) from exc
                else:
                    return

    def resize(self, workers: int) -> None:
        """See `dispatcher.Dispatcher`."""
        while len(self._seats) < workers:
            self._seats.append(_Seat(self._fresh()))
        for seat in self._seats[workers:]:
            ray.kill(seat.actor)
        del self._seats[workers:]
        self._turns = asyncio.Semaphore(self.lanes + workers)

    def drain(self) -> None:
        """See `dispatcher.Dispatcher`."""
        self._drained = True
        self.resize(0)

    async def _submit(self, method: str, args: tuple[Any, ...]) -> Any:
        group = actors.GROUPS[args[0] if args else "ping"]
        for _ in range(_ATTEMPTS):
            with self._seat() as seat:
                actor = seat.actor
                ref = getattr(actor, method).options(concurrency_group=group).remote(*args)
                try:
                    return await ref
                except asyncio.CancelledError:
                    ray.cancel(ref)
                    await asyncio.wait([asyncio.wrap_future(ref.future())])  # its place is free when its work has ended
                    raise
                except failures.LOST as exc:
                    self._replace(seat, actor)
                    cause = exc
                except Exception as exc:
                    raise failures.translate(exc) from exc
        raise lost() from cause

    @contextmanager
    def _seat(self) -> Iterator[_Seat]:
        if self._drained or not self._seats:
            raise drained()
        seat = min(self._seats, key=lambda candidate: candidate.busy)
        seat.busy += 1
        try:
            yield seat
        finally:
            seat.busy -= 1

    def _replace(self, seat: _Seat, dead: Any) -> None:
        if seat.actor is dead and not self._drained:
            _log.warning("a worker died; a new one takes its place")
            ray.kill(dead)
            seat.actor = self._fresh()

    def _fresh(self) -> Any:
        return self._class.remote(self._config.mapped_files)
