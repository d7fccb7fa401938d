"""What a failing service shows to a client: the reason when it is ours, nothing when it is not."""

import asyncio
import errno
import logging
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest

from genepool_protocol.wire.errors import Refused
from genepool_protocol.wire.status import from_rpc_error
from genepool_server.front.guards.interceptor import ErrorInterceptor
from genepool_server.serving.bounded_queue import Gate

SECRET = "10.1.2.3 /var/secret"
SHAPES = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
DOMAIN = "genepool.test"
RUNNER = asyncio.Runner()
"""gRPC's poller serves one loop at a time well."""


@pytest.fixture(scope="module", autouse=True)
def _one_loop():
    with RUNNER:
        yield


def handlers(fail):
    """One method of every shape; `fail` is called when a method is about to answer."""

    async def unary(request, context):
        return fail() or b"answer"

    async def stream(request, context):
        yield b"first"
        yield fail() or b"second"

    async def writer(request, context):
        await context.write(b"first")
        await context.write(fail() or b"second")

    return {
        "unary_unary": grpc.unary_unary_rpc_method_handler(unary),
        "unary_stream": grpc.unary_stream_rpc_method_handler(stream),
        "stream_unary": grpc.stream_unary_rpc_method_handler(unary),
        "stream_stream": grpc.stream_stream_rpc_method_handler(stream),
        "writer": grpc.unary_stream_rpc_method_handler(writer),
    }


@asynccontextmanager
async def serving(methods, *, deadlines: bool = False, stall: float = 10.0, gate: Gate | None = None):
    server = grpc.aio.server(interceptors=[ErrorInterceptor(stall, deadlines=deadlines, gate=gate)])
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(DOMAIN, methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(0)


async def call(channel, shape: str, seconds: float | None = 10.0):
    path = f"/{DOMAIN}/{shape}"
    kind = "unary_stream" if shape == "writer" else shape
    method = getattr(channel, kind)(path)
    argument = iter([b"question"]) if kind.startswith("stream") else b"question"
    made = method(argument, timeout=seconds)
    if kind.endswith("unary"):
        return [await made]
    return [message async for message in made]


def outcome(fail, shape: str, **options):
    async def play():
        async with serving(handlers(fail), **options) as channel:
            return await call(channel, shape)

    return RUNNER.run(play())


def refusal(fail, shape: str, **options):
    with pytest.raises(grpc.RpcError) as caught:
        outcome(fail, shape, **options)
    return caught.value, from_rpc_error(caught.value, "the test")


def raising(exc):
    def fail():
        raise exc

    return fail


@pytest.mark.parametrize("shape", [*SHAPES, "writer"])
def test_answers_pass_in_every_shape(shape):
    stream = shape.endswith("stream") or shape == "writer"
    assert outcome(lambda: None, shape) == ([b"first", b"second"] if stream else [b"answer"])


@pytest.mark.parametrize("shape", [*SHAPES, "writer"])
def test_our_errors_keep_reason_sentence_fix_and_facts(shape):
    exc = Refused("OFFSET", "the offset is wrong", "resume", committed_size="7")
    raw, error = refusal(raising(exc), shape)
    assert raw.code() is grpc.StatusCode.OUT_OF_RANGE
    assert (error.reason, error.message, error.fix, error.metadata) == (
        "OFFSET",
        "the offset is wrong",
        "resume",
        {"committed_size": "7"},
    )


@pytest.mark.parametrize("shape", [*SHAPES, "writer"])
def test_other_errors_say_nothing_to_the_client_and_everything_to_the_log(shape, caplog):
    with caplog.at_level(logging.ERROR):
        raw, error = refusal(raising(RuntimeError(SECRET)), shape)
    assert error.reason == "INTERNAL"
    assert raw.code() is grpc.StatusCode.INTERNAL
    assert SECRET not in str(raw.details())
    assert SECRET not in str(raw.trailing_metadata())
    assert SECRET in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_called_that(number):
    _, error = refusal(raising(OSError(number, "full", SECRET)), "unary_unary")
    assert error.reason == "DISK_FULL"
    assert SECRET not in error.diagnostics()


def test_a_method_that_is_not_there_is_unimplemented():
    async def play():
        async with serving({}) as channel:
            await call(channel, "unary_unary")

    with pytest.raises(grpc.RpcError) as caught:
        RUNNER.run(play())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_service_that_aborts_by_itself_is_left_alone():
    async def unary(request, context):
        await context.abort(grpc.StatusCode.NOT_FOUND, "by itself")

    async def play():
        async with serving({"unary_unary": grpc.unary_unary_rpc_method_handler(unary)}) as channel:
            await call(channel, "unary_unary")

    with pytest.raises(grpc.RpcError) as caught:
        RUNNER.run(play())
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, "by itself")


@pytest.mark.parametrize("shape", SHAPES)
def test_a_call_of_ours_needs_a_deadline(shape):
    async def play():
        async with serving(handlers(lambda: None), deadlines=True) as channel:
            await call(channel, shape, None)

    with pytest.raises(grpc.RpcError) as caught:
        RUNNER.run(play())
    assert from_rpc_error(caught.value, "the test").reason == "DEADLINE_REQUIRED"


def test_a_cancelled_call_ends_the_work_and_is_no_error(caplog):
    ended = []

    async def play():
        began = asyncio.Event()

        async def unary(request, context):
            began.set()
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

        async with serving({"unary_unary": grpc.unary_unary_rpc_method_handler(unary)}) as channel:
            made = channel.unary_unary(f"/{DOMAIN}/unary_unary")(b"question", timeout=30)
            waiting = asyncio.ensure_future(made.code())
            await asyncio.wait_for(began.wait(), 10)
            made.cancel()
            assert await waiting is grpc.StatusCode.CANCELLED
            for _ in range(100):
                if ended:
                    break
                await asyncio.sleep(0.05)

    with caplog.at_level(logging.ERROR, "genepool_server"):
        RUNNER.run(play())
    assert ended == ["cancelled"]
    assert not [record for record in caplog.records if record.name.startswith("genepool")]


def test_a_client_that_reads_nothing_loses_its_call():
    ended = []

    async def play():
        async def stream(request, context):
            try:
                while True:
                    yield bytes(1 << 20)
            finally:
                ended.append(True)

        async with serving({"unary_stream": grpc.unary_stream_rpc_method_handler(stream)}, stall=0.3) as channel:
            made = channel.unary_stream(f"/{DOMAIN}/unary_stream")(b"question", timeout=30)
            await made.read()
            for _ in range(200):
                if ended:
                    break
                await asyncio.sleep(0.05)
            made.cancel()

    RUNNER.run(play())
    assert ended


def test_every_message_of_an_answer_is_made_within_a_turn_and_sent_outside_of_it():
    gate, at_work = Gate("calls", 1, 9), []

    async def unary(request, context):
        at_work.append(gate.at_work)
        return b"answer"

    async def stream(request, context):
        while True:
            at_work.append(gate.at_work)
            yield bytes(1 << 20)

    methods = {
        "unary_unary": grpc.unary_unary_rpc_method_handler(unary),
        "unary_stream": grpc.unary_stream_rpc_method_handler(stream),
    }

    async def play():
        async with serving(methods, gate=gate) as channel:
            slow = channel.unary_stream(f"/{DOMAIN}/unary_stream")(b"question", timeout=30)
            await slow.read()  # one message, and no more: the next ones wait for room
            assert await call(channel, "unary_unary") == [b"answer"]
            slow.cancel()

    RUNNER.run(play())
    assert set(at_work) == {1}
