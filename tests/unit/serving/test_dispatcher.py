"""The seam without Ray: answers, failures, giving up, going down."""

import asyncio
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from genepool_protocol.wire.errors import GenepoolError, Refused, Unavailable
from genepool_server.serving.config import ServingConfig
from genepool_server.serving.dispatcher import InlineDispatcher, split
from genepool_server.serving.jobs import WorkerSupport
from genepool_server.serving.library import StoredFile


@pytest.fixture
def dispatcher():
    dispatcher = InlineDispatcher(ServingConfig(workers=0, score_threads=1, slots=1))
    yield dispatcher
    dispatcher.drain()


def reason_of(coroutine) -> str:
    with pytest.raises(GenepoolError) as caught:
        asyncio.run(coroutine)
    return caught.value.reason


async def collect(stream):
    return [item async for item in stream]


def test_an_answer_comes_from_the_worker(dispatcher, family, shared):
    async def run():
        assert await dispatcher.submit("ping") == 0
        return await dispatcher.submit("score", WorkerSupport(family, *shared), [(), ()])

    first, second = asyncio.run(run())
    assert first == second


def test_a_pool_that_nobody_asks_anything_never_loads_torch():
    code = (
        "import sys; from genepool_server.serving.dispatcher import InlineDispatcher as D; "
        "from genepool_server.serving.config import ServingConfig as C; D(C(workers=0)).drain(); "
        "print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout == "False\n"


def test_an_error_of_ours_arrives_as_it_was_raised(dispatcher, family, shared):
    jobs = [((StoredFile("/none", "0" * 64), 1000),)]
    assert reason_of(dispatcher.submit("score", WorkerSupport(family, *shared), jobs)) == "BLOB_CORRUPT"


def test_any_other_failure_is_internal_and_says_nothing(dispatcher):
    for call in (dispatcher.submit("score", None, None), collect(dispatcher.stream("build", "nonsense"))):
        with pytest.raises(GenepoolError) as caught:
            asyncio.run(call)
        assert (caught.value.reason, type(caught.value)) == ("INTERNAL", GenepoolError)
        assert "None" not in caught.value.message


def test_giving_up_stops_the_work_between_two_candidates(dispatcher, family, shared):
    async def run():
        work = asyncio.create_task(dispatcher.submit("score", WorkerSupport(family, *shared), [()] * 100_000))
        await asyncio.sleep(0.2)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        # the only scoring thread is free again
        return await asyncio.wait_for(dispatcher.submit("score", WorkerSupport(family, *shared), [()]), 30)

    assert len(asyncio.run(run())) == 1


def test_after_drain_everything_is_refused(dispatcher, family, shared):
    dispatcher.drain()
    assert reason_of(dispatcher.submit("ping")) == "SERVING_UNAVAILABLE"
    assert reason_of(dispatcher.submit("score", WorkerSupport(family, *shared), [()])) == "SERVING_UNAVAILABLE"
    assert reason_of(collect(dispatcher.stream("build", None))) == "SERVING_UNAVAILABLE"
    with pytest.raises(Unavailable):
        dispatcher.resize(0)


def test_what_waits_when_the_pool_goes_down_is_refused(family, shared):
    dispatcher = InlineDispatcher(ServingConfig(workers=0, score_threads=1, slots=0))
    started, hold = threading.Event(), threading.Event()

    def long(_order):
        started.set()
        hold.wait(20)
        yield 1

    dispatcher._worker = SimpleNamespace(build=long)

    async def run():
        first = asyncio.create_task(collect(dispatcher.stream("build", None)))
        await asyncio.to_thread(started.wait)
        second = asyncio.create_task(dispatcher.submit("score", WorkerSupport(family, *shared), [()]))
        await asyncio.sleep(0.05)
        drain = asyncio.create_task(asyncio.to_thread(dispatcher.drain))
        with pytest.raises(Unavailable) as caught:
            await second
        hold.set()
        await drain
        with pytest.raises(Unavailable):
            await first
        return caught.value.reason

    assert asyncio.run(run()) == "SERVING_UNAVAILABLE"


def test_there_are_no_workers_to_resize(dispatcher):
    dispatcher.resize(0)
    with pytest.raises(Unavailable):
        dispatcher.resize(2)


@pytest.mark.parametrize(("count", "lanes"), [(0, 1), (1, 4), (64, 2), (65, 1), (1000, 4)])
def test_shards_keep_order_and_every_lane_gets_some(count, lanes):
    items = list(range(count))
    shards = split(items, lanes)
    assert [item for shard in shards for item in shard] == items
    assert all(1 <= len(shard) <= 16 for shard in shards)
    if count >= 4 * lanes:
        assert len(shards) >= 4 * lanes * 3 // 4


def test_refusals_survive_the_way_through_a_thread(dispatcher):
    def fail(*_):
        raise Refused("OFFSET", "no", committed_size="3")

    dispatcher._worker = SimpleNamespace(task_embedding=fail)
    with pytest.raises(Refused) as caught:
        asyncio.run(dispatcher.submit("task_embedding", None))
    assert caught.value.metadata == {"committed_size": "3"}
