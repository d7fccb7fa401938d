"""Bounded concurrency: nobody waits without end, nobody is forgotten, nobody overtakes."""

import asyncio

import pytest

from genepool_protocol.wire.errors import Unavailable
from genepool_server.serving.gate import Gate


def test_one_too_many_hears_busy_at_once():
    async def run():
        gate = Gate("selections", 1, 1)
        await gate.enter()
        waiting = asyncio.create_task(gate.enter())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable) as caught:
            await gate.enter()
        assert caught.value.reason == "BUSY"
        assert int(caught.value.metadata["retry_seconds"]) > 0
        gate.leave()
        await waiting
        gate.leave()
        async with gate.turn():
            pass

    asyncio.run(run())


def test_who_waits_longest_comes_first():
    async def run():
        gate, order = Gate("x", 2, 9), []

        async def visit(number):
            async with gate.turn():
                order.append(number)
                await asyncio.sleep(0.001)

        await asyncio.gather(*(visit(number) for number in range(9)))
        assert order == list(range(9))

    asyncio.run(run())


def test_never_more_than_the_limit_and_no_place_is_lost_when_some_give_up():
    async def run():
        gate, inside, most = Gate("x", 3, 100), 0, 0

        async def visit(number):
            nonlocal inside, most
            async with gate.turn():
                inside += 1
                most = max(most, inside)
                try:
                    await asyncio.sleep(0.0005 * (number % 3))
                finally:
                    inside -= 1

        tasks = [asyncio.create_task(visit(number)) for number in range(60)]
        for number, task in enumerate(tasks):
            await asyncio.sleep(0)
            if number % 4 == 0:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most == 3
        await asyncio.gather(*(gate.enter() for _ in range(3)))  # all three places are free again

    asyncio.run(run())


def test_who_gives_up_while_the_place_is_handed_over_hands_it_on():
    async def run():
        gate = Gate("x", 1, 2)
        await gate.enter()
        first, second = asyncio.create_task(gate.enter()), asyncio.create_task(gate.enter())
        await asyncio.sleep(0)
        gate.leave()
        first.cancel()
        await asyncio.wait_for(second, 1)
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(run())
