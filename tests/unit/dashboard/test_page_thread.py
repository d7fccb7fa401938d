"""The one thread that makes pages: others wait, too many are refused, and nobody waits for ever."""

import asyncio
import threading

import pytest

from genepool_protocol.wire.errors import Unavailable
from genepool_server.dashboard.page_thread import WAITING, PageThread


def run(play):
    return asyncio.run(play())


def test_pages_are_made_one_after_the_other_and_their_errors_are_told():
    async def play():
        pages_thread, at_work, most = PageThread(), 0, 0

        def page(number):
            nonlocal at_work, most
            at_work += 1
            most = max(most, at_work)
            at_work -= 1
            if number == 2:
                raise KeyError(number)
            return number

        pages = [asyncio.ensure_future(pages_thread.make(lambda number=number: page(number))) for number in range(4)]
        results = await asyncio.gather(*pages, return_exceptions=True)
        pages_thread.close()
        return most, results

    most, results = run(play)
    assert most == 1
    assert results[:2] == [0, 1]
    assert isinstance(results[2], KeyError)


def test_one_too_many_is_refused_and_a_page_that_hangs_is_not_waited_for():
    async def play():
        pages_thread, hangs = PageThread(seconds=0.05), threading.Event()
        pages = [asyncio.ensure_future(pages_thread.make(hangs.wait)) for _ in range(WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable) as refused:
            await pages_thread.make(lambda: None)
        results = await asyncio.gather(*pages, return_exceptions=True)
        with pytest.raises(Unavailable):  # they have their places until they are really over
            await pages_thread.make(lambda: None)
        hangs.set()
        while pages_thread._asked:  # noqa: ASYNC110 - the thread says nothing when a page is over
            await asyncio.sleep(0.01)
        return refused.value.reason, {result.reason for result in results}, await pages_thread.make(lambda: "again")

    assert run(play) == ("BUSY", {"TOO_SLOW"}, "again")


def test_the_thread_rests_between_pages_when_more_are_asked_for():
    rests = []

    async def play():
        pages_thread = PageThread(rest=rests.append)
        await pages_thread.make(lambda: sum(range(200_000)))
        alone = len(rests)
        await asyncio.gather(*(pages_thread.make(lambda: sum(range(200_000))) for _ in range(3)))
        return alone

    assert run(play) == 0
    assert 2 <= len(rests) <= 3  # before the last one ends, the loop may not have heard of the one before
    assert all(0 < rest <= 1 for rest in rests)
