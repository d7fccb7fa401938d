"""The gate's connections, shared out: one address, or one node, must not take those of the others.

A connection is a stranger's until Flower has answered a request on it that a registered node signed. Strangers' places
are counted by address and together, nodes' by their key. Where strangers have no place left, the one that has said
nothing for longest gives way, and a connection too many is closed before anything is read from it.
"""

import socket
import time
from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from genepool_server.front.guards.arrivals import INNER
from genepool_server.front.guards.shares import address_of

TOTAL: Final = 512
"""Connections at the same time; a quarter of them is kept for nodes."""

EACH_ADDRESS: Final = 64
"""Connections of one address (of IPv6: of one /64) that no node has shown its signature on."""

EACH_NODE: Final = 16
"""Connections of one node, which needs a few: it sends the parts of a reply side by side."""

_PROOF: Final = 10.0  # seconds that a stranger has before it can be made to give way

Peer = tuple[str, int]
"""Address and port of the other end."""


@dataclass(slots=True)
class _Place:
    owner: Hashable  # an address, or a node's key
    since: float
    known: bool
    cut: Callable[[], None]


class Places:
    """Counts the connections of one gate. For one thread.

    Args:
        total: connections at once.
        each_address: of one address, without a node's signature; the entrance counts those that it leads here itself.
        clock: monotonic seconds.
    """

    def __init__(
        self, total: int = TOTAL, each_address: int = EACH_ADDRESS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total, self._strangers, self._each = total, max(1, total - total // 4), each_address
        self._clock = clock
        self._places: dict[Peer, _Place] = {}

    def take(self, peer: Peer, cut: Callable[[], None]) -> bool:
        """Give a new connection a place; False when there is none for it.

        Args:
            peer: its other end.
            cut: ends it, when it has to give way later.
        """
        address = address_of(f"ip:[{peer[0]}]:{peer[1]}")
        counted = Counter(place.owner for place in self._places.values() if not place.known)
        if address != INNER and counted[address] >= self._each:
            room = self._give_way(address)
        elif counted.total() >= self._strangers or len(self._places) >= self._total:
            room = self._give_way(None)
        else:
            room = True
        if not room:
            return False
        self._places[peer] = _Place(address, self._clock(), known=False, cut=cut)
        return True

    def prove(self, peer: Peer, node: str) -> bool:
        """A connection's node is known now; False when that node has too many.

        Args:
            peer: the connection's other end.
            node: the key that its requests are signed with, which Flower has verified.
        """
        place = self._places.get(peer)
        if place is None or (place.known and place.owner == node):
            return True
        if sum(other.known and other.owner == node for other in self._places.values()) >= EACH_NODE:
            return False
        place.owner, place.known = node, True
        return True

    def leave(self, peer: Peer) -> None:
        """A connection has ended."""
        self._places.pop(peer, None)

    def _give_way(self, address: str | None) -> bool:
        """Cut the oldest connection of an address, or of all strangers, that has had time to show a signature."""
        latest = self._clock() - _PROOF
        strangers = [
            (place.since, peer)
            for peer, place in self._places.items()
            if not place.known and place.since <= latest and address in (None, place.owner)
        ]
        if not strangers:
            return False
        _, peer = min(strangers)
        self._places.pop(peer).cut()
        return True


class SharedListener(socket.socket):
    """A listening socket that accepts only connections that have a place; an event loop of asyncio's takes it.

    Args:
        listening: an ordinary one, which it takes over.
        places: shared with what knows the nodes.
    """

    def __init__(self, listening: socket.socket, places: Places) -> None:
        family, kind = listening.family, listening.type
        super().__init__(family, kind, fileno=listening.detach())
        self._places = places

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection with a place.

        Raises:
            OSError: as a socket's; BlockingIOError, nobody else is at the door.
        """
        while True:
            plain, address = super().accept()
            peer = (address[0], address[1])
            accepted = _Accepted(plain, partial(self._places.leave, peer))
            if self._places.take(peer, accepted.cut):
                return accepted, address
            accepted.close()


class _Accepted(socket.socket):
    """A connection that says when it is closed."""

    def __init__(self, plain: socket.socket, left: Callable[[], None]) -> None:
        family, kind = plain.family, plain.type
        super().__init__(family, kind, fileno=plain.detach())
        self._left: Callable[[], None] | None = left

    def cut(self) -> None:
        """End it, so that whoever reads from it hears of its end."""
        with suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it; its place is free again."""
        super().close()
        left, self._left = self._left, None
        if left is not None:
            left()
