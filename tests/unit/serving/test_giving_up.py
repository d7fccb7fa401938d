"""Who gives up and asks again at once never has more at work than its share."""

import asyncio
import threading

import pytest

from genepool_server.serving.config import ServingConfig
from genepool_server.serving.dispatcher import InlineDispatcher
from genepool_server.serving.selecting import Evaluation


class Slow:
    """A worker whose work goes on, however often it is cancelled, until it is let go."""

    def __init__(self) -> None:
        self.begun, self.let_go, self.ended = threading.Event(), threading.Event(), 0

    def score(self, _support, _jobs, _cancelled):
        self.begun.set()
        assert self.let_go.wait(10)
        self.ended += 1
        return []

    task_embedding = slopes = score


@pytest.fixture
def slow():
    return Slow()


@pytest.fixture
def dispatcher(slow):
    inline = InlineDispatcher(ServingConfig(score_threads=1, slots=1))
    inline._worker = slow
    yield inline
    slow.let_go.set()
    inline.drain()


async def given_up(task, slow):
    """How much had ended when the cancelled task was over; the work is let go a moment later."""
    await asyncio.to_thread(slow.begun.wait, 10)
    task.cancel()
    await asyncio.sleep(0.05)
    assert not task.done()
    slow.let_go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    return slow.ended


def test_a_cancelled_call_is_over_when_its_work_is(dispatcher, slow):
    async def run():
        return await given_up(asyncio.create_task(dispatcher.submit("score", None, [])), slow)

    assert asyncio.run(run()) == 1


def test_a_stopped_selection_is_over_when_its_shards_are(dispatcher, slow):
    async def run():
        evaluation = Evaluation(asyncio.get_running_loop(), dispatcher, None, {})

        async def selection():
            try:
                await asyncio.to_thread(list, evaluation.scores([(), ()]))
            finally:
                await evaluation.stop()

        return await given_up(asyncio.create_task(selection()), slow)

    assert asyncio.run(run()) >= 1
