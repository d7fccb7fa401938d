"""Bounded concurrency, fair between peers: so many at once, so many in the queue, and who asks for more hears BUSY.

Places are handed out in turns: one to each peer that waits, however many requests each has. No peer holds all places,
so that the next one need not wait for a slow reader; and a peer that fills the queue makes room for one that does not.
"""

import asyncio
import math
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from genepool_protocol.wire.errors import Unavailable
from genepool_server.serving.peers import CURRENT, HOUSE, Peer
from genepool_server.serving.rests import Rests

CERTIFIED_TURNS: Final = 3
"""Places that certified peers get for one of an anonymous peer while both wait."""

_FIRST_GUESS: Final = 1.0  # seconds that a place is held, before one was given back
_LATEST: Final = 60  # seconds after which a refused caller is told to come back, at most


class Place:
    """One place inside of a gate; give it back with `leave`."""

    def __init__(self, gate: "Gate", peer: Peer, since: float) -> None:
        self._gate: Gate | None = gate
        self._peer = peer
        self._since = since

    def leave(self) -> None:
        """Hand the place to whose turn it is; a second call does nothing."""
        gate, self._gate = self._gate, None
        if gate is not None:
            gate._left(self._peer, self._since)  # noqa: SLF001 - the two halves of one thing


_Turn = asyncio.Future[Place]
_Ring = OrderedDict[Peer, deque[_Turn]]


class Gate:
    """Lets `limit` requests through at the same time. For one event loop.

    Args:
        what: what is done behind the gate, for the refusal.
        limit: how many at once.
        queue: how many may wait.
        each: how many of them may be one peer's; as many as `queue` by default.
        share: how many places one peer may hold; all but one by default.
        rest: how long a peer with more requests rests after a turn, in times of that turn; see `Rests`.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        what: str,
        limit: int,
        queue: int,
        *,
        each: int | None = None,
        share: int | None = None,
        rest: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._limit, self._queue = what, limit, queue
        self._each = queue if each is None else min(each, queue)
        self._share = max(1, limit - 1 if share is None else min(share, limit))
        self._clock = clock
        self._rests = Rests(rest, clock)
        self._inside: Counter[Peer] = Counter()
        self._rings: dict[bool, _Ring] = {True: OrderedDict(), False: OrderedDict()}
        self._streak = 0  # places in a row that certified peers got
        self._held = _FIRST_GUESS

    @property
    def limit(self) -> int:
        """How many get through at once."""
        return self._limit

    @property
    def at_work(self) -> int:
        """How many are through."""
        return self._inside.total()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(len(turns) for ring in self._rings.values() for turns in ring.values())

    async def enter(self) -> Place:
        """Wait for a place of the peer whose call this is.

        Raises:
            Unavailable: BUSY, the queue or the peer's part of it is full.
        """
        peer = CURRENT.get()
        self._rests.seen(peer)
        if self._may_enter(peer):
            return self._admit(peer)
        self._make_room(peer)
        turn: _Turn = asyncio.get_running_loop().create_future()
        self._rings[peer.certified].setdefault(peer, deque()).append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                turn.result().leave()  # the place was handed over at the very moment of giving up
            else:
                self._forget(peer, turn)
            raise

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """`enter` and `leave` around a block.

        Raises:
            Unavailable: BUSY.
        """
        place = await self.enter()
        try:
            yield
        finally:
            place.leave()

    def _may_enter(self, peer: Peer) -> bool:
        """Whether there is a place for the peer now; who waits already cannot use it, or would have it."""
        mine = self._limit if peer == HOUSE else self._share
        return self._inside.total() < self._limit and self._inside[peer] < mine and peer not in self._rests

    def _admit(self, peer: Peer) -> Place:
        self._inside[peer] += 1
        return Place(self, peer, self._clock())

    def _left(self, peer: Peer, since: float) -> None:
        held = self._clock() - since
        self._held += 0.2 * (held - self._held)
        self._inside[peer] -= 1
        if not self._inside[peer]:
            del self._inside[peer]
        if peer in self._rings[peer.certified]:
            self._rests.begin(peer, held, self._hand_out)
        self._hand_out()

    def _hand_out(self) -> None:
        while (following := self._next()) is not None:
            whose, turn = following
            turn.set_result(self._admit(whose))

    def _next(self) -> tuple[Peer, _Turn] | None:
        """Whose turn it is, taken out of the queue; None when nobody who waits may enter."""
        anonymous_first = self._streak >= CERTIFIED_TURNS
        for certified in (not anonymous_first, anonymous_first):
            ring = self._rings[certified]
            for peer, turns in ring.items():
                if not self._may_enter(peer):
                    continue
                turn = turns.popleft()
                ring.move_to_end(peer)
                if not turns:
                    del ring[peer]
                self._streak = self._streak + 1 if certified else 0
                return peer, turn
        return None

    def _make_room(self, peer: Peer) -> None:
        """Refuse who has enough in the queue; of a full queue, the last request of who has most in it."""
        mine = len(self._rings[peer.certified].get(peer, ()))
        if mine >= self._each:
            raise self._busy()
        if self.waiting < self._queue:
            return
        largest = self._largest(certified=False, above=0 if peer.certified else mine + 1)
        if largest is None and peer.certified:
            largest = self._largest(certified=True, above=mine + 1)
        if largest is None:
            raise self._busy()
        ring = self._rings[largest.certified]
        turn = ring[largest].pop()
        if not ring[largest]:
            del ring[largest]
        turn.set_exception(self._busy())

    def _largest(self, *, certified: bool, above: int) -> Peer | None:
        """The peer with the most requests in the queue, if they are more than so many."""
        crowds = {peer: len(turns) for peer, turns in self._rings[certified].items() if len(turns) > above}
        return max(crowds, key=lambda peer: crowds[peer]) if crowds else None

    def _forget(self, peer: Peer, turn: _Turn) -> None:
        ring = self._rings[peer.certified]
        turns = ring.get(peer)
        if turns is not None and turn in turns:
            turns.remove(turn)
            if not turns:
                del ring[peer]

    def _busy(self) -> Unavailable:
        seconds = math.ceil(self._held * (self.waiting + 1) / self._limit)
        return Unavailable(
            "BUSY",
            f"the pool has {self._inside.total()} {self._what} at work and {self.waiting} waiting",
            "try again in a few seconds",
            retry_seconds=str(max(1, min(seconds, _LATEST))),
        )
