"""A block has its time, and only its own end is called so."""

import asyncio

import pytest

from genepool_protocol.wire.errors import Unavailable
from genepool_server.deadline import within


def test_what_lasts_longer_ends_and_other_timeouts_are_not_its_end():
    async def run(seconds, inner):
        async with within(seconds, "the call did not end"):
            await inner()

    async def late():
        raise TimeoutError

    with pytest.raises(Unavailable) as caught:
        asyncio.run(run(0.01, lambda: asyncio.sleep(5)))
    assert caught.value.reason == "TOO_SLOW"
    with pytest.raises(TimeoutError):
        asyncio.run(run(5, late))
