"""Rests: a peer that keeps a queue waits between two of its turns, so that the event loop is free when others call.

Fair turns alone do not help who has one short call: while a crowd of another peer is served without a pause, each step
of that call waits behind a step of the crowd (`python -m tests.benchmarks.load`). A peer that is alone never rests.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from genepool_server.serving.peers import Peer

RECENT: Final = 60.0
"""Seconds for which a peer that called is expected to call again."""


class Rests:
    """Which peers rest. For one event loop.

    Args:
        times: how long a peer rests, in times of the turn that it had.
        clock: monotonic seconds.
    """

    def __init__(self, times: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._times = times
        self._clock = clock
        self._resting: set[Peer] = set()
        self._latest: tuple[Peer | None, float] = (None, 0.0)
        self._before: tuple[Peer | None, float] = (None, 0.0)
        """When another peer than the latest was last seen."""

    def __contains__(self, peer: Peer) -> bool:
        return peer in self._resting

    def seen(self, peer: Peer) -> None:
        """Note that a peer calls."""
        if peer != self._latest[0]:
            self._before = self._latest
        self._latest = (peer, self._clock())

    def begin(self, peer: Peer, held: float, over: Callable[[], None]) -> None:
        """Let a peer rest that has more requests, unless nobody else called within a minute.

        Args:
            peer: who had a turn.
            held: seconds that the turn took.
            over: called when the rest is over.
        """
        if not self._times or peer in self._resting or not self._others(peer):
            return
        self._resting.add(peer)
        asyncio.get_running_loop().call_later(self._times * held, self._end, peer, over)

    def _others(self, peer: Peer) -> bool:
        return any(
            other not in (None, peer) and self._clock() - since < RECENT
            for other, since in (self._latest, self._before)
        )

    def _end(self, peer: Peer, over: Callable[[], None]) -> None:
        self._resting.discard(peer)
        over()
