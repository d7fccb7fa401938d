"""Ray workers that die: replaced, their work done again, and nobody sees anything but the right answer."""

import asyncio
import os
import signal

import numpy as np
import pytest

from genepool_protocol.learngene.size import Budget, Size
from genepool_protocol.wire.errors import GenepoolError
from genepool_server.serving import descend_request
from genepool_server.serving.jobs import WorkerSupport
from genepool_server.serving.library import StoredFile
from tests.support.ray_stranger import Stranger, gcs
from tests.support.serving import (
    at_home,
    collect,
    download,
    expected,
    select,
    slots_are_back,
    weights_of,
)

pytestmark = pytest.mark.slow


async def pid(world) -> int:
    return await world.serving._dispatcher.submit("ping")


async def another(world, than: int) -> int:
    """The process number of the worker, once it is another one."""
    while (found := await pid(world)) == than:  # noqa: ASYNC110 - it is another process that changes
        await asyncio.sleep(0.01)
    return found


def test_a_worker_killed_in_the_middle_of_scoring_is_replaced_and_the_answer_is_the_same(on_ray, support):
    killed = []

    async def run():
        worker = await pid(on_ray)

        def kill(done, _, stage):
            if stage == "score" and done == 1 and not killed:
                killed.append(worker)
                os.kill(worker, signal.SIGKILL)

        found = await select(on_ray, support, progress=kill)
        return found, await another(on_ray, worker)

    found, successor = on_ray.run(run())
    assert killed
    assert killed != [successor]
    assert found == at_home(on_ray, support)


def test_a_worker_killed_in_the_middle_of_a_build_is_replaced_and_the_bytes_are_the_same(on_ray):
    weights, size = weights_of(on_ray, "big-32"), Size(12, 4)

    async def run():
        worker = await pid(on_ray)
        async with await on_ray.serving.descend("big-32", weights, Budget(size=size)) as descent:
            stream = descent.chunks()
            chunks = [await anext(stream), await anext(stream)]
            os.kill(worker, signal.SIGKILL)
            chunks += await collect(stream)
        return chunks, await another(on_ray, worker), worker

    chunks, successor, worker = on_ray.run(run())
    assert b"".join(chunks) == expected(on_ray.view, "big-32", size, weights)
    assert successor != worker
    assert on_ray.run(slots_are_back(on_ray))


def test_a_worker_killed_while_idle_is_replaced_by_the_next_call(on_ray):
    async def run():
        worker = await pid(on_ray)
        os.kill(worker, signal.SIGKILL)
        return await download(on_ray, "tiny-16", [], Budget(size=Size(2, 1)))

    chunks, _ = on_ray.run(run())
    assert b"".join(chunks) == expected(on_ray.view, "tiny-16", Size(2, 1), [])


def test_work_that_two_workers_do_not_survive_is_given_up(on_ray, support):
    family = descend_request.family(on_ray.view.blueprint("tiny-16"))
    pixels, labels = support

    async def run():
        endless = [()] * 1_000_000
        dispatcher = on_ray.serving._dispatcher
        with on_ray.serving._pictures.lent(pixels) as shared:
            handle = WorkerSupport(family, shared, np.asarray(labels))
            work = asyncio.create_task(dispatcher.submit("score", handle, endless))
            first = await pid(on_ray)
            await asyncio.sleep(0.3)
            os.kill(first, signal.SIGKILL)
            second = await another(on_ray, first)
            await asyncio.sleep(0.3)
            os.kill(second, signal.SIGKILL)
            with pytest.raises(GenepoolError) as caught:
                await work
        return caught.value

    error = on_ray.run(run())
    assert error.reason == "SERVING_UNAVAILABLE"
    assert "Actor" not in error.diagnostics()
    assert on_ray.run(select(on_ray, support)) == at_home(on_ray, support)


def test_a_cancelled_selection_stops_the_workers(on_ray, support):
    family = descend_request.family(on_ray.view.blueprint("tiny-16"))
    pixels, labels = support

    async def run():
        dispatcher = on_ray.serving._dispatcher
        with on_ray.serving._pictures.lent(pixels) as shared:
            handle = WorkerSupport(family, shared, np.asarray(labels))
            endless = [
                asyncio.create_task(dispatcher.submit("score", handle, [()] * 1_000_000))
                for _ in range(2)  # every thread of the worker
            ]
            await asyncio.sleep(0.5)
            for work in endless:
                work.cancel()
            await asyncio.gather(*endless, return_exceptions=True)
        return await asyncio.wait_for(select(on_ray, support), 60)

    assert on_ray.run(run()) == at_home(on_ray, support)


def test_an_error_of_ours_crosses_the_process_with_everything(on_ray, support):
    family = descend_request.family(on_ray.view.blueprint("tiny-16"))
    job = ((StoredFile("/none", "0" * 64), 1000),)
    with on_ray.serving._pictures.lent(support[0]) as shared, pytest.raises(GenepoolError) as caught:
        on_ray.run(
            on_ray.serving._dispatcher.submit("score", WorkerSupport(family, shared, np.asarray(support[1])), [job])
        )
    assert (caught.value.reason, caught.value.fix) == ("BLOB_CORRUPT", "run genepool-server fsck")


def test_an_unforeseen_failure_says_nothing_of_ray(on_ray):
    with pytest.raises(GenepoolError) as caught:
        on_ray.run(on_ray.serving._dispatcher.submit("task_embedding", None))
    assert caught.value.reason == "INTERNAL"
    assert "Error" not in caught.value.diagnostics()


def test_neither_weights_nor_images_enter_the_object_store(on_ray, support, tmp_path):
    folder = on_ray.serving._dispatcher._folder.path
    stranger = Stranger(gcs(folder), folder / "token", tmp_path / "stranger")
    assert stranger.joined

    async def run():
        before, most = stranger.store_bytes(), 0
        weights = weights_of(on_ray, "big-32")
        async with await on_ray.serving.descend("big-32", weights, Budget(size=Size(12, 4))) as descent:
            total_bytes = descent.order.total_bytes
            async for _ in descent.chunks():
                most = max(most, await asyncio.to_thread(stranger.store_bytes))

        def look(*_):
            nonlocal most
            most = max(most, stranger.store_bytes())

        pixels, labels = support
        await select(on_ray, (np.tile(pixels, (40, 1, 1, 1)), labels * 40), progress=look)
        return before, most, total_bytes

    before, most, total = on_ray.run(run())
    stranger.close()
    assert total > 30 << 20
    assert most - before < 1 << 16


def test_more_and_fewer_workers(on_ray, support):
    dispatcher = on_ray.serving._dispatcher
    lanes = dispatcher.lanes
    dispatcher.resize(2)
    assert dispatcher.lanes == 2 * lanes
    assert on_ray.run(select(on_ray, support)) == at_home(on_ray, support)
    dispatcher.resize(1)
    assert dispatcher.lanes == lanes
    assert on_ray.run(select(on_ray, support)) == at_home(on_ray, support)


def test_after_drain_everything_is_refused(on_ray, support):
    """The last one: it ends the workers."""
    on_ray.serving._dispatcher.drain()
    for call in (
        on_ray.serving.ping(),
        select(on_ray, support),
        download(on_ray, "tiny-16", [], Budget(size=Size(1, 1))),
    ):
        with pytest.raises(GenepoolError) as caught:
            on_ray.run(call)
        assert caught.value.reason == "SERVING_UNAVAILABLE"
    assert on_ray.run(slots_are_back(on_ray))
