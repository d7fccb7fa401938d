"""How often one site may call the methods that cost the pool something: a bucket of tokens for each of them."""

import math
import time
from collections.abc import Callable
from typing import Final

from genepool_protocol.wire.errors import Unavailable

LIMITED: Final = frozenset(
    {
        "/genepool.v1.ContributeService/BeginNonce",
        "/genepool.v1.ContributeService/Begin",
        "/genepool.v1.ContributeService/Commit",
        "/genepool.v1.ContributeService/JoinCampaign",
        "/genepool.v1.EnrolmentService/Renew",
        "/genepool.v1.EnrolmentService/RotateSigningKey",
    }
)
"""Full names; the others cost little, or are limited by what is in flight."""


class Rates:
    """Buckets of a minute's calls that fill evenly. For one event loop.

    Args:
        per_minute: calls of one site to one method.
        clock: monotonic seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = float(per_minute)
        self._clock = clock
        self._buckets: dict[tuple[str, str], tuple[float, float]] = {}  # tokens, and when they were counted

    def take(self, site: str, method: str) -> None:
        """Count one call.

        Raises:
            Unavailable: RATE_EXCEEDED, with the seconds after which one more is allowed.
        """
        if method not in LIMITED:
            return
        now, speed = self._clock(), self._size / 60
        tokens, then = self._buckets.get((site, method), (self._size, now))
        tokens = min(self._size, tokens + (now - then) * speed)
        if tokens < 1:
            seconds = math.ceil((1 - tokens) / speed)
            raise Unavailable(
                "RATE_EXCEEDED",
                f"the site {site} calls {method.rpartition('/')[2]} more than {self._size:.0f} times a minute",
                f"wait {seconds} s",
                retry_seconds=str(seconds),
            )
        self._buckets[site, method] = (tokens - 1, now)
