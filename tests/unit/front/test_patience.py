"""Limits on slow clients."""

import asyncio

import pytest

from genepool_protocol.wire.errors import GenepoolError, Unavailable
from genepool_server.front.patience import Pace, patience


def test_an_upload_at_its_pace_goes_on():
    now = [0.0]
    pace = Pace(30.0, 1000, lambda: now[0])
    for _ in range(100):
        now[0] += 1.0
        pace.took(1000)


def test_an_upload_that_trickles_is_ended_after_the_grace():
    now = [0.0]
    pace = Pace(30.0, 1000, lambda: now[0])
    now[0] = 29.0
    pace.took(1)
    now[0] = 32.0
    with pytest.raises(Unavailable) as caught:
        pace.took(1)
    assert caught.value.reason == "TOO_SLOW"


def test_what_came_early_counts_later():
    now = [0.0]
    pace = Pace(30.0, 1000, lambda: now[0])
    pace.took(100_000)
    now[0] = 100.0
    pace.took(1)


def test_waiting_for_a_message_ends():
    async def wait() -> None:
        async with Pace(0.01).limit():
            await asyncio.sleep(5)

    with pytest.raises(TimeoutError):
        asyncio.run(wait())


def test_a_block_that_takes_too_long_cancels_its_call():
    async def hold() -> None:
        with patience(0.01):
            await asyncio.sleep(5)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(hold())


def test_a_block_in_time_is_left_alone():
    async def hold() -> str:
        with patience(0.05):
            await asyncio.sleep(0)
        await asyncio.sleep(0.1)
        return "done"

    assert asyncio.run(hold()) == "done"


def test_patience_needs_a_task():
    def outside() -> str:
        with pytest.raises(GenepoolError) as caught, patience(1.0):
            pass
        return caught.value.reason

    async def ask() -> str:
        answer = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(lambda: answer.set_result(outside()))
        return await answer

    assert asyncio.run(ask()) == "INTERNAL"
