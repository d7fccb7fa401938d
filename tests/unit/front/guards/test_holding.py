"""Refusals for load are held back: who asks again at once gets few of them."""

import asyncio

import pytest

from genepool_protocol.wire.errors import Refused, Unavailable
from genepool_server.front.guards.holding import Holding
from genepool_server.serving.peers import CURRENT, Peer

GREEDY, POLITE = Peer("192.0.2.1", certified=False), Peer("192.0.2.2", certified=False)
BUSY = Unavailable("BUSY", "the pool is busy", "come back", retry_seconds="9")


class Context:
    """Of a call with a deadline, or without one."""

    def __init__(self, left: float | None = None) -> None:
        self._left = left

    def time_remaining(self) -> float | None:
        return self._left


async def kept(holding: Holding, peer: Peer, refusal=BUSY, left: float | None = None) -> float:
    """How many seconds the refusal was held back."""
    CURRENT.set(peer)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await holding.keep(refusal, Context(left))
    return loop.time() - began


def test_the_more_refusals_of_one_peer_wait_the_longer_each_and_another_peer_is_not_told_later():
    async def run():
        holding = Holding(100, shortest=0.01, pace=100, longest=0.2)
        crowd = [asyncio.create_task(kept(holding, GREEDY)) for _ in range(30)]
        await asyncio.sleep(0)
        assert holding.held == 30
        assert await asyncio.create_task(kept(holding, POLITE)) < min(0.3, 30 / 100)
        seconds = await asyncio.gather(*crowd)
        assert seconds[0] >= 0.01
        assert min(seconds[20:]) >= 0.2  # the longest
        assert holding.held == 0

    asyncio.run(run())


def test_a_caller_hears_why_before_its_deadline():
    async def run():
        assert await kept(Holding(9, shortest=60, longest=60), GREEDY, left=0.1) < 1

    asyncio.run(run())


def test_other_refusals_and_those_beyond_the_limit_leave_at_once():
    async def run():
        holding = Holding(1, shortest=60, longest=60)
        waiting = asyncio.create_task(kept(holding, GREEDY))
        await asyncio.sleep(0)
        assert await kept(holding, GREEDY) < 1
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert holding.held == 0
        assert await kept(holding, GREEDY, Refused("SITE_NOT_ACTIVE", "it is suspended", "ask the operator")) < 1
        assert await kept(holding, GREEDY, Unavailable("BUSY", "the pool is busy", "come back")) < 1

    asyncio.run(run())
