"""Refusals for load are held back: a caller that asks again at once would fill the event loop with refusals alone.

A refused call that waits costs a timer; one that is answered and comes again costs the server as much as one that is
served (`python -m tests.benchmarks.load`). Whoever keeps to `retry_seconds` loses nothing by it.
"""

import asyncio
from collections import Counter
from typing import Any, Final

from genepool_protocol.wire.errors import GenepoolError
from genepool_protocol.wire.status import retry_seconds
from genepool_server.serving.peers import CURRENT, Peer

_LOAD: Final = frozenset({"BUSY", "RATE_EXCEEDED"})

SHORTEST: Final = 1.0
"""Seconds that a refusal is held back, unless the caller was told to come back sooner."""

PACE: Final = 10
"""Refusals a second of one peer: the more of them wait, the longer each."""

LONGEST: Final = 5.0
"""Seconds that a refusal is held back, at most."""

_PART: Final = 0.5
"""Of what is left of the call's deadline, so that the caller hears why."""


class Holding:
    """Holds refusals back. For one event loop.

    Args:
        limit: how many at once; one more goes out at once, so that they cannot fill the memory.
        shortest: seconds that each is held back, unless the caller was told to come back sooner.
        pace: refusals a second of one peer.
        longest: seconds, at most.
    """

    def __init__(self, limit: int, shortest: float = SHORTEST, pace: float = PACE, longest: float = LONGEST) -> None:
        self._limit = limit
        self._shortest, self._pace, self._longest = shortest, pace, longest
        self._held: Counter[Peer] = Counter()

    @property
    def held(self) -> int:
        """How many refusals are held back now."""
        return self._held.total()

    async def keep(self, refusal: GenepoolError, context: Any) -> None:
        """Wait before a refusal goes out, if it is one for load.

        Args:
            refusal: what the call is answered.
            context: of the call.
        """
        wait = retry_seconds(refusal) if refusal.reason in _LOAD else None
        if not wait or self.held >= self._limit:
            return
        peer, left = CURRENT.get(), context.time_remaining()
        self._held[peer] += 1
        seconds = min(self._longest, max(min(self._shortest, wait), self._held[peer] / self._pace))
        try:
            await asyncio.sleep(seconds if left is None else min(seconds, _PART * left))
        finally:
            self._held[peer] -= 1
            if not self._held[peer]:
                del self._held[peer]
