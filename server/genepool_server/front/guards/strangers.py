"""How often one address may descend without a certificate: each descent can become a row of the ledger for ever."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from genepool_protocol.wire.errors import Unavailable
from genepool_server.front.guards.shares import address_of

_ADDRESSES: Final = 4096
"""Buckets that are kept: who was seen longest ago is forgotten first, and begins with a full one."""


class Strangers:
    """A bucket of a minute's descents for each address, which fills evenly. For one event loop.

    Args:
        per_minute: descents of one address; so many may also come at once.
        clock: monotonic seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = float(per_minute)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when they were counted

    def take(self, peer: str) -> None:
        """Count one descent.

        Raises:
            Unavailable: RATE_EXCEEDED, with the seconds after which one more is allowed.
        """
        name, now, speed = address_of(peer), self._clock(), self._size / 60
        tokens, then = self._buckets.pop(name, (self._size, now))
        tokens = min(self._size, tokens + (now - then) * speed)
        self._buckets[name] = (tokens - 1 if tokens >= 1 else tokens, now)
        while len(self._buckets) > _ADDRESSES:
            self._buckets.popitem(last=False)
        if tokens < 1:
            seconds = math.ceil((1 - tokens) / speed)
            raise Unavailable(
                "RATE_EXCEEDED",
                f"without a certificate an address may descend {self._size:.0f} times a minute",
                f"wait {seconds} s, or show a certificate (--identity DIR)",
                retry_seconds=str(seconds),
            )
