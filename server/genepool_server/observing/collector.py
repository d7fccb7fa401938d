"""Reads what stands when Prometheus asks: the event loop's part on the loop, the rest on the asking thread."""

import asyncio
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path
from typing import Final, get_args

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from genepool_protocol.wire.errors import GenepoolError
from genepool_server.front.server import Front
from genepool_server.observing import state
from genepool_server.observing.state import FrontState, PoolState, QueueState
from genepool_server.pool.pool import OpenPool
from genepool_server.pool.store.folder import PoolFolder
from genepool_server.records import ContributionState, SiteState
from genepool_server.root.repository import Repository
from genepool_server.serving.service import Serving
from genepool_server.tls import certificates

_log: Final = logging.getLogger(__name__)

_FRESH: Final = 5.0  # seconds for which what was read of the ledger is told again: asking often costs nothing
_PATIENCE: Final = 2.0  # seconds that the event loop has for an answer
_DAY: Final = 86_400.0


class StateCollector(Collector):
    """What stands, for a registry; a part that cannot be read is left out, and counted.

    Args:
        front: reads what the event loop knows; called on it.
        pool: reads the rest; blocks.
        loop: the event loop.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        front: Callable[[], FrontState],
        pool: Callable[[], PoolState],
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._front, self._pool, self._loop, self._clock = front, pool, loop, clock
        self._lock = threading.Lock()
        self._read: tuple[float, PoolState] | None = None
        self._failures = 0

    def collect(self) -> Iterator[Metric]:
        """The families; called by whichever thread answers Prometheus."""
        front, stored = self.standing()
        if front is not None:
            yield from state.front_families(front)
        if stored is not None:
            yield from state.pool_families(stored)
        failures = self._failures
        yield CounterMetricFamily("genepool_unreadable", "Parts that could not be read for this page.", value=failures)

    def standing(self) -> tuple[FrontState | None, PoolState | None]:
        """What stands; a part that cannot be read is None. Blocks for some seconds at most."""
        with self._lock:  # one reader of the ledger, however many ask
            return self._of_loop(), self._stored()

    def _of_loop(self) -> FrontState | None:
        standing: Future[FrontState] = Future()

        def read() -> None:
            if standing.set_running_or_notify_cancel():
                standing.set_result(self._front())

        try:
            self._loop.call_soon_threadsafe(read)
            return standing.result(_PATIENCE)
        except (TimeoutError, RuntimeError):  # it is busy, or the server goes down
            standing.cancel()
            self._failures += 1
            return None

    def _stored(self) -> PoolState | None:
        if self._read is None or self._clock() - self._read[0] > _FRESH:
            try:
                self._read = self._clock(), self._pool()
            except (GenepoolError, OSError) as exc:
                _log.warning("the state of the pool cannot be read for whoever watches it: %s", exc)
                self._failures += 1
                return None
        return self._read[1]


def read_front(front: Front, serving: Serving) -> FrontState:
    """What the event loop knows; call it there."""
    gates, crew = {"calls": front.quick} | serving.gates, serving.crew
    queues = {name: QueueState(gate.at_work, gate.waiting, gate.limit) for name, gate in gates.items()}
    return FrontState(front.shares.open, queues, crew.wanted, crew.running, crew.restarts)


def read_pool(pool: OpenPool, place: PoolFolder, now: datetime) -> PoolState:
    """What ledger, folder and keys say.

    Raises:
        GenepoolError: one of them cannot be read.
        OSError: the same.
    """
    totals, sites, size = pool.contributions.totals(), pool.sites.counts(), pool.log.size
    spool = [entry.stat().st_size for entry in os.scandir(place.spool) if entry.name.endswith((".part", ".done"))]
    weights = sum(total for name, (_, total) in totals.items() if name != "WITHDRAWN")
    ledger = [file.stat().st_size for file in place.root.glob(f"{place.ledger.name}*")]
    return PoolState(
        contributions={name: totals.get(name, (0, 0))[0] for name in get_args(ContributionState)},
        unreviewed=pool.contributions.unreviewed_count(),
        sites={name: sites.get(name, 0) for name in get_args(SiteState)},
        log_size=size,
        head_age=max(0.0, now.timestamp() - place.head.stat().st_mtime) if size else None,
        witnesses=pool.heads.reached(),
        quorum=pool.heads.policy.quorum,
        days_left=_days_left(place, now),
        store_bytes={"weights": weights, **({"ledger": sum(ledger)} if ledger else {})},
        spool_bytes=sum(spool),
        spool_uploads=len(pool.contributions.intake.spool.tickets()),
        disk_free=shutil.disk_usage(place.root).free,
    )


def _days_left(place: PoolFolder, now: datetime) -> dict[str, float]:
    trust = Repository(place.trust)
    ends = {"root of trust": trust.root().signed.expires, "targets of trust": trust.targets().expires}
    ends |= {name: _end(place.keys / file) for name, file in _CERTIFICATES.items()}
    return {name: (end - now).total_seconds() / _DAY for name, end in ends.items()}


def _end(path: Path) -> datetime:
    return certificates.parse(certificates.read(path), path.name).not_valid_after_utc


_CERTIFICATES: Final = {"server": "tls.crt", "CA of the server": "ca.crt", "CA of the sites": "client-ca.crt"}
"""Label -> file in the folder of keys."""
