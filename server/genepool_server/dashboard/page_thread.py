"""Where pages are made: one thread, so that whoever asks for pages has one at work and the pool has the rest.

After a page the thread rests for twice the time that it took, up to a second, if more are asked for: a flood of
requests gets a third of one core, and the thread's lock on the interpreter no more than that.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from genepool_protocol.wire.errors import Unavailable

_T = TypeVar("_T")

WAITING: Final = 8
"""Pages that are made or wait; one more is refused."""

SECONDS: Final = 15.0
"""That somebody waits for a page."""

_REST: Final = 2.0
_LONGEST: Final = 1.0  # seconds


class PageThread:
    """Makes pages, one after the other. For one event loop.

    Args:
        seconds: that somebody waits for a page.
        rest: lets so many seconds pass, on the thread.
    """

    def __init__(self, seconds: float = SECONDS, rest: Callable[[float], None] = time.sleep) -> None:
        self._seconds, self._sleep = seconds, rest
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="genepool-dashboard-pages")
        self._asked = 0

    async def make(self, page: Callable[[], _T]) -> _T:
        """What the function answers, on the thread.

        Raises:
            Unavailable: BUSY, too many wait; TOO_SLOW, it takes too long, for instance because the disk hangs.
        """
        if self._asked >= WAITING:
            raise Unavailable(
                "BUSY", "too many pages are asked for at the moment", "reload in a few seconds", retry_seconds="5"
            )
        self._asked += 1
        try:
            work = asyncio.get_running_loop().run_in_executor(self._thread, self._timed, page)
        except BaseException:
            self._asked -= 1
            raise
        work.add_done_callback(self._ended)  # also of one that nobody waits for any more: it has its place till then
        try:
            return await asyncio.wait_for(asyncio.shield(work), self._seconds)
        except TimeoutError as exc:
            raise Unavailable(
                "TOO_SLOW", "the pool takes too long to read", "see the server's log and disk", retry_seconds="30"
            ) from exc

    def close(self) -> None:
        """Make nothing more; what is at work ends by itself."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _timed(self, page: Callable[[], _T]) -> _T:
        began = time.thread_time()
        try:
            return page()
        finally:
            if self._asked > 1:
                self._sleep(min(_LONGEST, _REST * (time.thread_time() - began)))

    def _ended(self, work: "asyncio.Future[_T]") -> None:
        self._asked -= 1
        if not work.cancelled():
            work.exception()  # it was told to whoever waited; nobody else asks for it
