"""Bounded concurrency: so many at once, so many in the queue, and everybody else hears BUSY at once."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from genepool_protocol.wire.errors import Unavailable


class Gate:
    """Lets `limit` requests through at the same time. For one event loop.

    Args:
        what: what is done behind the gate, for the refusal.
        limit: how many at once.
        queue: how many may wait.
    """

    def __init__(self, what: str, limit: int, queue: int) -> None:
        self._what = what
        self._limit = limit
        self._queue = queue
        self._inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Wait for a place; every entry needs one `leave`.

        Raises:
            Unavailable: BUSY, the queue is full.
        """
        if self._inside < self._limit:
            self._inside += 1
            return
        if len(self._waiting) >= self._queue:
            raise Unavailable(
                "BUSY",
                f"the pool has {self._limit} {self._what} at work and {self._queue} waiting",
                "try again in a few seconds",
                retry_seconds="5",
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()  # the place was handed over at the very moment of giving up
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def leave(self) -> None:
        """Hand the place to the one who waits longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._inside -= 1

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """`enter` and `leave` around a block.

        Raises:
            Unavailable: BUSY.
        """
        await self.enter()
        try:
            yield
        finally:
            self.leave()
