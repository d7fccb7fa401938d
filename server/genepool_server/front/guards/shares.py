"""How many calls are open at once, in all and of each peer: one peer's idle streams must not close the door to others.

gRPC's own limit counts calls and knows no peer, and it cannot bound the connections of an address. So calls are counted
here, from their headers to their very end, and one too many is refused before its first message is read.
"""

import ipaddress
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

from genepool_protocol.wire.errors import GenepoolError, Unavailable
from genepool_server.front.guards.arrivals import ARRIVALS
from genepool_server.front.guards.callers import Callers
from genepool_server.serving.peers import Peer

_AGAIN: Final = "2"
"""Seconds after which a refused caller may come back: calls that say nothing are over by then."""

_PREFIX: Final = 64
"""Bits of an IPv6 address that one customer has."""


def peer_of(context: Any, callers: Callers) -> Peer:
    """The site whose certificate vouches for a call, else the address that it came from."""
    try:
        site = callers(context).site
    except GenepoolError:  # a certificate that is worth nothing any more
        site = ""
    return Peer(site, certified=True) if site else Peer(address_of(ARRIVALS.peer(context)), certified=False)


@lru_cache(maxsize=4096)
def address_of(peer: str) -> str:
    """The address in gRPC's name of a peer (ipv4:127.0.0.1:5000, ipv6:%5B::1%5D:5000); of IPv6 the first 64 bits."""
    kind, _, rest = unquote(peer).partition(":")
    try:
        address = ipaddress.ip_address(rest.rpartition(":")[0].strip("[]").partition("%")[0])
    except ValueError:
        return kind
    mapped = getattr(address, "ipv4_mapped", None)
    if address.version == 4 or mapped:
        return str(mapped or address)
    return str(ipaddress.ip_network((address, _PREFIX), strict=False))


class Shares:
    """Counts open calls. For one event loop.

    Args:
        callers: tells who calls.
        total: calls at once; a quarter of them is kept for certified callers.
        each: calls at once of one peer.
    """

    def __init__(self, callers: Callers, total: int, each: int) -> None:
        self._callers = callers
        self._total = total
        self._anonymous = max(1, total - total // 4)
        self._each = min(each, total)
        self._open: Counter[Peer] = Counter()

    @property
    def open(self) -> int:
        """How many calls are open."""
        return self._open.total()

    def whose(self, context: Any) -> Peer:
        """Who calls."""
        return peer_of(context, self._callers)

    def take(self, peer: Peer, context: Any) -> None:
        """Count a call of that peer until gRPC is through with it.

        Raises:
            Unavailable: BUSY, with the seconds after which to come back.
        """
        if self._open[peer] >= self._each:
            raise _busy(f"this caller has {self._each} calls open")
        if self._open.total() >= self._total or (not peer.certified and self._strangers() >= self._anonymous):
            raise _busy(f"the pool has {self._open.total()} calls open")
        self._open[peer] += 1
        context.add_done_callback(self._counting_down(peer))

    def _strangers(self) -> int:
        return sum(count for peer, count in self._open.items() if not peer.certified)

    def _counting_down(self, peer: Peer) -> Callable[[Any], None]:
        def over(_: Any) -> None:
            self._open[peer] -= 1
            if not self._open[peer]:
                del self._open[peer]

        return over


def _busy(why: str) -> Unavailable:
    return Unavailable("BUSY", f"{why}, which is the limit", "end some, or try again soon", retry_seconds=_AGAIN)
