"""Limits on slow clients: one that takes no answer, or sends next to nothing, must not hold a place for ever."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from genepool_protocol.wire.errors import GenepoolError, Unavailable

_log = logging.getLogger(__name__)

SLOWEST: Final = 8 << 10
"""Bytes a second that an upload must reach over its whole length."""


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Cancel the call when the block takes longer: a client that reads nothing must not hold a place for ever."""
    call = asyncio.current_task()
    if call is None:
        raise GenepoolError("INTERNAL", "a call runs outside of a task")

    def give_up() -> None:
        _log.warning("a client took no answer for %.0f seconds and loses its place", seconds)
        call.cancel()

    timer = asyncio.get_running_loop().call_later(seconds, give_up)
    try:
        yield
    finally:
        timer.cancel()


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
    return Unavailable("TOO_SLOW", f"the upload is too slow: {why}", "resume it; what the pool has is kept")
