"""Bounded concurrency: nobody waits without end, nobody is forgotten, no peer is passed over for ever."""

import asyncio
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from genepool_protocol.wire.errors import Unavailable
from genepool_server.serving.bounded_queue import CERTIFIED_TURNS, Gate
from genepool_server.serving.peers import CURRENT, Peer


def test_one_too_many_hears_busy_at_once():
    async def run():
        gate = Gate("selections", 1, 1)
        place = await gate.enter()
        waiting = asyncio.create_task(gate.enter())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable) as caught:
            await gate.enter()
        assert caught.value.reason == "BUSY"
        assert int(caught.value.metadata["retry_seconds"]) > 0
        place.leave()
        (await waiting).leave()
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
        place = await gate.enter()
        first, second = asyncio.create_task(gate.enter()), asyncio.create_task(gate.enter())
        await asyncio.sleep(0)
        place.leave()
        first.cancel()
        await asyncio.wait_for(second, 1)
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(run())


GREEDY, POLITE, SITE = (
    Peer("10.0.0.1", certified=False),
    Peer("10.0.0.2", certified=False),
    Peer("north", certified=True),
)


async def entering(gate, peer):
    CURRENT.set(peer)
    return await gate.enter()


def asking(gate, peer):
    return asyncio.create_task(entering(gate, peer))


async def settled():
    for _ in range(4):
        await asyncio.sleep(0)


def test_one_peer_never_holds_all_places():
    async def run():
        gate = Gate("x", 3, 60)
        greedy = [asking(gate, GREEDY) for _ in range(60)]
        await settled()
        assert sum(task.done() for task in greedy) == 2
        polite = asking(gate, POLITE)
        await settled()
        assert polite.done()
        for task in greedy:
            task.cancel()

    asyncio.run(run())


def test_a_full_queue_makes_room_for_a_peer_that_is_not_in_it():
    async def run():
        gate = Gate("x", 1, 4)
        place = await entering(gate, GREEDY)
        greedy = [asking(gate, GREEDY) for _ in range(5)]
        await settled()
        polite, site = asking(gate, POLITE), asking(gate, SITE)
        await settled()
        reasons = [task.exception().reason for task in greedy if task.done()]
        assert reasons == ["BUSY"] * 3
        assert not polite.done()
        assert not site.done()
        place.leave()
        (await asyncio.wait_for(site, 1)).leave()
        await settled()
        for task in greedy:
            task.cancel()

    asyncio.run(run())


def test_a_peer_has_its_part_of_the_queue_and_no_more():
    async def run():
        gate = Gate("x", 1, 100, each=2)
        await entering(gate, GREEDY)
        greedy = [asking(gate, GREEDY) for _ in range(10)]
        await settled()
        assert [task.done() for task in greedy] == [False] * 2 + [True] * 8
        assert all(int(task.exception().metadata["retry_seconds"]) > 0 for task in greedy[2:])
        for task in greedy[:2]:
            task.cancel()

    asyncio.run(run())


def turns(peers, peer):
    """So often others may come first: each of its kind once, and the other kind between them."""
    of_kind = sum(other.certified == peer.certified for other in peers)
    if peer.certified:
        return of_kind + (of_kind - 1) // CERTIFIED_TURNS
    return (CERTIFIED_TURNS + 1) * of_kind - 1


@settings(max_examples=60, deadline=None)
@given(
    limit=st.integers(1, 4),
    requests=st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=12, max_size=60),
    leaving=st.randoms(use_true_random=False),
)
@example(limit=1, requests=[(0, False)] * 12 + [(1, False)], leaving=random.Random(0))
@example(limit=1, requests=[(0, True)] * 12 + [(1, False)], leaving=random.Random(0))
@example(limit=1, requests=[(0, False)] * 12 + [(1, True)], leaving=random.Random(0))
def test_no_peer_with_a_waiting_request_is_passed_over_more_often_than_there_are_turns(limit, requests, leaving):
    """A peer that may enter waits for one turn of each other peer of its kind, and for the certified ones' part."""

    async def run():
        gate = Gate("x", limit, 1000)
        tasks = []
        for number, certified in requests:
            tasks.append((Peer(str(number), certified), asking(gate, Peer(str(number), certified))))
        await settled()
        peers = {peer for peer, _ in tasks}
        passed = dict.fromkeys(peers, 0)
        inside = [(peer, task) for peer, task in tasks if task.done()]
        waiting = [(peer, task) for peer, task in tasks if not task.done()]
        while inside:
            _, task = inside.pop(leaving.randrange(len(inside)))
            task.result().leave()
            await settled()
            came = [pair for pair in waiting if pair[1].done()]
            waiting = [pair for pair in waiting if not pair[1].done()]
            inside += came
            share = max(1, limit - 1)
            held = [peer for peer, _ in inside]
            for other in peers:
                able = held.count(other) < share
                passed[other] += bool(came) and able and any(peer == other for peer, _ in waiting)
                if any(peer == other for peer, _ in came):
                    passed[other] = 0
            assert len(inside) <= limit
            assert all(held.count(peer) <= share for peer in peers)
            assert all(times <= turns(peers, peer) for peer, times in passed.items())
        assert not waiting

    asyncio.run(run())
