"""Whoever watches hears how a call really ended."""

import asyncio

import grpc
import pytest

from genepool_server.front.guards.watching import WatchInterceptor


class Context:
    def code(self):
        return grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (None, "OK"),
        (asyncio.CancelledError(), "CANCELLED"),
        (grpc.aio.AbortError(), "NOT_FOUND"),
        (ValueError("a defect"), "UNKNOWN"),
    ],
)
def test_a_call_ends_with_the_code_that_its_caller_gets(failure, code):
    calls = []

    async def inner(_messages, _context):
        if failure is not None:
            raise failure

    async def run():
        await WatchInterceptor(calls.append)._watched(inner, "/genepool.v1.PoolService/X")(None, Context())

    if failure is None:
        asyncio.run(run())
    else:
        with pytest.raises(type(failure)):
            asyncio.run(run())
    assert [call.code for call in calls] == [code]
