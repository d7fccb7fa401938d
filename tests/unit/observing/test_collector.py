"""What is read when Prometheus asks: a part that cannot be read is missing, and nobody hangs."""

import asyncio
import threading

import pytest

from genepool_protocol.wire.errors import StorageError
from genepool_server.observing import collector
from genepool_server.observing.collector import StateCollector
from genepool_server.observing.state import FrontState, PoolState, QueueState

FRONT = FrontState(3, {"calls": QueueState(1, 2, 8)}, 2, 1, 4)
POOL = PoolState({"ACTIVE": 5}, 1, {"ACTIVE": 2}, 9, None, {"w.example/one": 7}, 1, {"server": 30.5}, {"weights": 11})


@pytest.fixture
def loop():
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def figures(of: StateCollector) -> dict[tuple[str, ...], float]:
    return {(one.name, *one.labels.values()): one.value for family in of.collect() for one in family.samples}


def test_what_stands_is_told(loop):
    found = figures(StateCollector(lambda: FRONT, lambda: POOL, loop))
    assert found[("genepool_queue_waiting", "calls")] == 2
    assert found[("genepool_ray_restarts_total",)] == 4
    assert found[("genepool_witness_size", "w.example/one")] == 7
    assert found[("genepool_certificate_days_left", "server")] == 30.5
    assert ("genepool_log_head_age_seconds",) not in found


def test_the_ledger_is_read_once_however_often_somebody_asks(loop):
    reads, now = [], [0.0]

    def read() -> PoolState:
        reads.append(1)
        return POOL

    of = StateCollector(lambda: FRONT, read, loop, lambda: now[0])
    for _ in range(5):
        figures(of)
    assert len(reads) == 1
    now[0] = 6.0
    figures(of)
    assert len(reads) == 2


def test_a_ledger_that_fails_leaves_the_rest_and_is_counted(loop):
    def fail() -> PoolState:
        raise StorageError("DISK_FAILED", "no disk", "")

    found = figures(StateCollector(lambda: FRONT, fail, loop))
    assert found[("genepool_calls_open",)] == 3
    assert found[("genepool_unreadable_total",)] == 1
    assert ("genepool_log_size",) not in found


def test_a_loop_that_is_busy_or_gone_hangs_nobody(loop, monkeypatch):
    monkeypatch.setattr(collector, "_PATIENCE", 0.05)
    busy, free = threading.Event(), threading.Event()
    loop.call_soon_threadsafe(lambda: (busy.set(), free.wait(10)))
    busy.wait(10)
    of = StateCollector(lambda: FRONT, lambda: POOL, loop)
    found = figures(of)
    assert ("genepool_calls_open",) not in found
    assert found[("genepool_log_size",)] == 9
    free.set()
    gone = asyncio.new_event_loop()
    gone.close()
    assert figures(StateCollector(lambda: FRONT, lambda: POOL, gone))[("genepool_unreadable_total",)] == 1
