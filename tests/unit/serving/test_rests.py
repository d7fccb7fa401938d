"""A peer that keeps a queue rests between its turns while others are about; nobody else does, and no turn is lost."""

import asyncio

from genepool_server.serving.bounded_queue import Gate
from genepool_server.serving.peers import CURRENT, Peer
from genepool_server.serving.rests import RECENT

GREEDY, POLITE = Peer("192.0.2.1", certified=False), Peer("192.0.2.2", certified=False)
LONG = 1e6


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def entering(gate: Gate, peer: Peer):
    CURRENT.set(peer)
    return await gate.enter()


def asking(gate: Gate, peer: Peer):
    return asyncio.create_task(entering(gate, peer))


async def after_a_turn(gate: Gate, clock: Clock, *, others_ago: float | None) -> tuple[bool, list]:
    """Whether a peer's second call got its place when its first one, of a second, had ended; and the open tasks."""
    if others_ago is not None:
        (await asking(gate, POLITE)).leave()
        clock.now += others_ago
    first, second = asking(gate, GREEDY), asking(gate, GREEDY)
    await asyncio.sleep(0.001)
    assert not second.done()
    clock.now += 1
    (await first).leave()
    await asyncio.sleep(0.001)
    return second.done(), [second]


def played(rest: float, others_ago: float | None) -> bool:
    async def run():
        clock = Clock()
        at_once, tasks = await after_a_turn(
            Gate("x", 4, 9, share=1, rest=rest, clock=clock), clock, others_ago=others_ago
        )
        for task in tasks:
            task.cancel()
        return at_once

    return asyncio.run(run())


def test_who_has_a_queue_rests_while_another_is_about():
    assert not played(LONG, others_ago=1)


def test_who_is_alone_never_rests():
    assert played(LONG, others_ago=None)
    assert played(LONG, others_ago=RECENT + 1)


def test_without_rests_turns_follow_each_other():
    assert played(0.0, others_ago=1)


def test_while_one_rests_another_enters_at_once_and_one_without_a_queue_does_not_rest():
    async def run():
        clock = Clock()
        gate = Gate("x", 4, 9, share=1, rest=LONG, clock=clock)
        at_once, tasks = await after_a_turn(gate, clock, others_ago=1)
        assert not at_once
        for _ in range(3):  # one call after the other
            place = await asyncio.wait_for(asking(gate, POLITE), 1)
            clock.now += 1
            place.leave()
        newcomer = asking(gate, GREEDY)  # cannot overtake its own rest
        await asyncio.sleep(0.001)
        assert not newcomer.done()
        for task in (*tasks, newcomer):
            task.cancel()

    asyncio.run(run())


def test_every_turn_comes_after_its_rest():
    async def run():
        gate, served = Gate("x", 4, 99, share=1, rest=1.0), []

        async def visit(peer, number):
            CURRENT.set(peer)
            async with gate.turn():
                await asyncio.sleep(0.001)
                served.append((peer, number))

        calls = [visit(peer, number) for number in range(10) for peer in (GREEDY, POLITE)]
        await asyncio.wait_for(asyncio.gather(*map(asyncio.ensure_future, calls)), 30)
        assert [number for peer, number in served if peer == GREEDY] == list(range(10))
        assert len(served) == 20
        assert gate.at_work == gate.waiting == 0

    asyncio.run(run())
