"""Limits on slow clients: one that takes no answer, or sends next to nothing, must not hold a place for ever."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from google.protobuf.message import Message

from genepool_protocol.wire.errors import Unavailable

_log = logging.getLogger(__name__)

SLOWEST: Final = 8 << 10
"""Bytes a second that an upload must reach over its whole length."""

SLOWEST_READ: Final = 128 << 10
"""Bytes a second at which an answer must be taken, over its whole length."""

HEAD_START: Final = 10.0
"""Seconds that a client may be behind."""


class Reader:
    """Sends the messages of one answer, as long as the client takes them fast enough.

    Only the time counts in which the client keeps us waiting: it has so many seconds for one message, and over the
    whole answer a head start and then a second for every `slowest` bytes.

    Args:
        seconds: that one message may take.
        slowest: bytes a second that the client must reach over the whole answer.
        start: seconds that it may be behind.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        seconds: float,
        slowest: int = SLOWEST_READ,
        start: float = HEAD_START,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds, self._slowest, self._credit, self._clock = seconds, slowest, min(start, seconds), clock

    async def send(self, message: Any, write: Callable[[Any], Awaitable[None]]) -> None:
        """Write one message.

        Raises:
            Unavailable: TOO_SLOW.
        """
        if self._credit <= 0:
            raise self._too_slow()
        started = self._clock()
        try:
            async with asyncio.timeout(min(self._seconds, self._credit)):
                await write(message)
        except TimeoutError as exc:
            raise self._too_slow() from exc
        size = message.ByteSize() if isinstance(message, Message) else len(message)
        self._credit += size / self._slowest - (self._clock() - started)

    def _too_slow(self) -> Unavailable:
        _log.warning("a client takes its answer too slowly and loses its place")
        return Unavailable(
            "TOO_SLOW",
            f"the answer is taken too slowly: less than {self._slowest} bytes a second",
            "take it up where it broke off",
            retry_seconds="1",
        )


class Pace:
    """Whether an upload is fast enough to go on.

    Args:
        seconds: may pass without a message, and before the pace counts.
        slowest: bytes a second after that.
        clock: monotonic seconds.
    """

    def __init__(self, seconds: float, slowest: int = SLOWEST, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._slowest = slowest
        self._clock = clock
        self._start = clock()
        self._bytes = 0

    def took(self, count: int) -> None:
        """Note that so many bytes came.

        Raises:
            Unavailable: TOO_SLOW, the upload is behind.
        """
        self._bytes += count
        if self._bytes < self._slowest * (self._clock() - self._start - self._seconds):
            raise too_slow(f"less than {self._slowest} bytes a second came")

    def limit(self) -> asyncio.Timeout:
        """A block in which the next message must come; it raises TimeoutError."""
        return asyncio.timeout(self._seconds)


def too_slow(why: str) -> Unavailable:
    """The error of an upload that is behind; what was durable is kept."""
    return Unavailable(
        "TOO_SLOW", f"the upload is too slow: {why}", "resume it; what the pool has is kept", retry_seconds="1"
    )
