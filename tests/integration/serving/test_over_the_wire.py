"""Consumers that hang up, fall silent or come back, over real gRPC: the bytes are right and no slot is lost."""

import asyncio
import hashlib
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest

from genepool_protocol.learngene import descendant
from genepool_protocol.learngene.manifest import BUNDLE_FILE
from genepool_protocol.learngene.size import Size
from genepool_protocol.trust import envelope, statement
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.v1 import consume_pb2, consume_pb2_grpc, types_pb2
from genepool_protocol.wire import status
from genepool_server.front.guards.callers import Caller
from genepool_server.front.guards.interceptor import CallLimits, ErrorInterceptor
from genepool_server.front.guards.shares import Shares
from genepool_server.front.guards.strangers import Strangers
from genepool_server.front.services.descend_service import DescendServicer
from genepool_server.front.services.select_service import SelectServicer
from tests.support.serving import at_home, expected, slots_are_back, weights_of

SIZE = Size(12, 4)
KEY = SigningKey.generate()


@asynccontextmanager
async def front(world, limits=20.0):
    shares = Shares(lambda _: Caller("", frozenset()), 100, 100)
    server = grpc.aio.server(interceptors=[ErrorInterceptor(limits, deadlines=True, shares=shares)])
    descend = DescendServicer(world.view, world.serving, KEY, "pool.local/log", Strangers(60_000))
    consume_pb2_grpc.add_DescendServiceServicer_to_server(descend, server)
    consume_pb2_grpc.add_SelectServiceServicer_to_server(SelectServicer(world.view, world.serving), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield consume_pb2_grpc.DescendServiceStub(channel), consume_pb2_grpc.SelectServiceStub(channel)
    await server.stop(0)


def request(world, offset: int = 0) -> consume_pb2.DescendRequest:
    weights = [types_pb2.Weight(contribution_id=name, milli=milli) for name, milli in weights_of(world, "big-32")]
    budget = types_pb2.SizeBudget(size=types_pb2.Size(depth=SIZE.depth, heads=SIZE.heads))
    return consume_pb2.DescendRequest(blueprint="big-32", weights=weights, budget=budget, resume_offset=offset)


async def take(call) -> tuple[consume_pb2.DescendHeader, bytes, dict]:
    header, chunks, files = None, [], {}
    async for response in call:
        match response.WhichOneof("part"):
            case "header":
                header = response.header
            case "chunk":
                chunks.append(response.chunk)
            case "attestation":
                files = dict(response.attestation.files)
    return header, b"".join(chunks), files


@pytest.mark.parametrize("offset", [0, 7 << 20])
def test_a_descendant_arrives_whole_and_attested(inline, offset):
    async def run():
        async with front(inline) as (stub, _):
            return await take(stub.Descend(request(inline, offset), timeout=60))

    header, raw, files = inline.run(run())
    whole = expected(inline.view, "big-32", SIZE, weights_of(inline, "big-32"))
    assert raw == whole[offset:]
    assert header.total_bytes == len(whole)
    verified = envelope.verify(envelope.parse(files[BUNDLE_FILE]), KEY.public)
    signed = statement.check_model_statement(
        verified, descendant.SUBJECT, descendant.SIGNED, ignore=descendant.IGNORED
    ).digests
    assert signed[descendant.MODEL_FILE] == hashlib.sha256(whole).hexdigest()


def test_a_consumer_that_hangs_up_loses_nothing_but_its_call(inline):
    async def run():
        async with front(inline) as (stub, _):
            for count in (0, 1, 4):
                call = stub.Descend(request(inline), timeout=60)
                for _ in range(count):
                    await call.read()
                call.cancel()
                await asyncio.sleep(0.02)
            return await slots_are_back(inline)

    assert inline.run(run())


def test_a_consumer_that_reads_nothing_loses_its_slot(inline):
    async def run():
        async with front(inline, 0.4) as (stub, _):
            silent = stub.Descend(request(inline), timeout=60).__aiter__()  # its own end must not give the slot back
            await anext(silent)
            assert inline.serving._slots.free == 1
            back = await slots_are_back(inline)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await take(silent)
            return back, status.from_rpc_error(caught.value, "pool")

    back, error = inline.run(run())
    assert back
    assert error.reason in ("TOO_SLOW", "POOL_UNREACHABLE")


def test_slow_readers_lose_their_place_and_never_have_all_of_them(inline):
    """Each takes a chunk now and then, so none stalls; what counts is the pace over the whole answer."""

    async def crawl(stub):
        call = stub.Descend(request(inline), timeout=30)
        count = 0
        try:
            while await call.read() is not grpc.aio.EOF:
                count += 1
                await asyncio.sleep(0.5)
        except grpc.aio.AioRpcError as exc:
            return status.from_rpc_error(exc, "pool").reason
        return f"all {count}"

    async def run():
        async with front(inline, CallLimits(20.0, slowest=64 << 20, head_start=0.3)) as (stub, _):
            crawling = [asyncio.create_task(crawl(stub)) for _ in range(3)]
            await asyncio.sleep(0.2)
            free = inline.serving._slots.free
            return free, await asyncio.gather(*crawling), await slots_are_back(inline)

    free, ends, back = inline.run(run())
    assert free == 1  # of two: the other one is for other callers
    assert set(ends) == {"TOO_SLOW"}
    assert back


def test_a_selection_over_the_wire_is_the_selection_at_home(inline, support):
    async def run():
        pixels, labels = support
        asked = consume_pb2.SelectRequest(blueprint="tiny-16", pixels=pixels.tobytes(), labels=labels)
        async with front(inline) as (_, stub):
            return [event async for event in stub.Select(asked, timeout=60)]

    *progress, last = inline.run(run())
    home = at_home(inline, support)
    assert [(w.contribution_id, w.milli) for w in last.selection.weights] == list(home.weights)
    assert [c.entry.contribution_id for c in last.selection.candidates] == [c.contribution_id for c in home.candidates]
    assert {event.progress.stage for event in progress} >= {"retrieve", "score"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pixels": b"x" * 100}, "SUPPORT_MALFORMED"),
        ({"pixels": b""}, "SUPPORT_MALFORMED"),
        ({"blueprint": "none"}, "BLUEPRINT_UNKNOWN"),
        ({"labels": [0] * 24}, "ONE_CLASS_ONLY"),
        ({"licenses": ["MIT"]}, "POOL_EMPTY"),
    ],
)
def test_a_refusal_crosses_the_wire_with_its_reason(inline, support, change, reason):
    async def run():
        pixels, labels = support
        asked = {"blueprint": "tiny-16", "pixels": pixels.tobytes(), "labels": labels} | change
        async with front(inline) as (_, stub):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async for _ in stub.Select(consume_pb2.SelectRequest(**asked), timeout=60):
                    pass
        return status.from_rpc_error(caught.value, "pool")

    error = inline.run(run())
    assert error.reason == reason
    assert error.message


def test_a_consumer_that_leaves_a_selection_stops_it(inline, support):
    async def run():
        pixels, labels = support
        asked = consume_pb2.SelectRequest(blueprint="tiny-16", pixels=pixels.tobytes(), labels=labels)
        async with front(inline) as (_, stub):
            for _ in range(6):  # more than may be at work and in the queue
                call = stub.Select(asked, timeout=60)
                await call.read()
                call.cancel()
                await asyncio.sleep(0.05)
            return [event async for event in stub.Select(asked, timeout=60)][-1]

    assert inline.run(run()).selection.choice
