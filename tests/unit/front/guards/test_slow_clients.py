"""Limits on slow clients."""

import asyncio

import pytest

from genepool_protocol.wire.errors import Unavailable
from genepool_server.front.guards.slow_clients import Pace, Reader


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


def sent(reader, now, seconds, size=1 << 20) -> str:
    """What becomes of a message that the client takes so many seconds for."""

    async def write(_):
        now[0] += seconds

    async def run():
        await reader.send(bytes(size), write)

    try:
        asyncio.run(run())
    except Unavailable as exc:
        assert int(exc.metadata["retry_seconds"]) > 0
        return exc.reason
    return "sent"


def test_a_chunk_each_twenty_seconds_is_too_slow_over_the_whole_answer():
    now = [0.0]
    reader = Reader(30.0, 128 << 10, 10.0, lambda: now[0])
    assert [sent(reader, now, 20) for _ in range(2)] == ["sent", "TOO_SLOW"]


def test_who_takes_an_answer_fast_enough_goes_on_for_ever():
    now = [0.0]
    reader = Reader(30.0, 128 << 10, 10.0, lambda: now[0])
    assert {sent(reader, now, 8) for _ in range(200)} == {"sent"}


def test_a_message_that_is_not_taken_at_all_ends_the_answer():
    async def run():
        with pytest.raises(Unavailable) as caught:
            await Reader(0.01).send(b"x", lambda _: asyncio.sleep(5))
        return caught.value.reason

    assert asyncio.run(run()) == "TOO_SLOW"
