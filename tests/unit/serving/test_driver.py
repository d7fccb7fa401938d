"""The process that holds Ray says the end of every call, also of one that is cancelled before it began."""

import asyncio

import pytest

from genepool_server.serving.ray.driver import _Calls


class Workers:
    async def submit(self, _verb, _packed):
        await asyncio.sleep(60)


@pytest.mark.parametrize("steps", [0, 1])
def test_a_cancelled_call_has_an_end_whether_it_had_begun_or_not(steps):
    async def run():
        said = []
        calls = _Calls(Workers(), lambda *event: said.append(event))
        calls.take(7, "submit", ("score", b""))
        for _ in range(steps):
            await asyncio.sleep(0)
        calls.take(7, "cancel", ())
        await asyncio.sleep(0.01)
        return said, calls._tasks

    assert asyncio.run(run()) == ([(7, "value", None)], {})
