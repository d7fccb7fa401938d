"""One client that takes all it can, beside another that asks for little: the other one is served.

The other one comes from another address (`tests/support/relay.py`), or from the same one with a certificate.
"""

import contextlib
import threading
import time

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from genepool_client.transport.channel import Connection
from genepool_protocol.v1 import consume_pb2, pool_pb2, types_pb2
from genepool_protocol.wire.errors import Unavailable
from genepool_protocol.wire.status import from_rpc_error, retry_seconds
from genepool_protocol.wire.versions import API_VERSION
from tests.integration.server.wire import WireSite, refused
from tests.support.relay import seen_as
from tests.support.server import TIMEOUT, Stubs, pool_server, wait_until

CAPABILITIES = pool_pb2.GetCapabilitiesRequest(api_version=API_VERSION)
LIMITED = {"first_seconds": 1.0, "watch_seconds": 2.0}
CONNECTIONS, STREAMS = 9, 32


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with pool_server(tmp_path_factory.mktemp("server"), serving=LIMITED) as running:
        yield running


def opened(stack, anchors) -> grpc.Channel:
    """A connection of its own, whatever other channels there are."""
    credentials = grpc.ssl_channel_credentials(anchors.ca_pem.encode())
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    return stack.enter_context(grpc.secure_channel(anchors.address, credentials, options=options))


def never():
    """Messages that do not come."""
    threading.Event().wait(20)
    yield from ()


def watching(channel):
    return health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=20)


def reflecting(channel):
    return reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(never(), timeout=20)


def silent(channel):
    """Headers of a call that has one message, and no message."""
    return channel.stream_stream("/genepool.v1.PoolService/GetCapabilities")(never(), timeout=20)


@pytest.mark.parametrize("idle", [watching, reflecting, silent], ids=lambda idle: idle.__name__)
def test_idle_streams_of_one_address_leave_both_ports_to_others(server, idle):
    with contextlib.ExitStack() as stack:
        site = WireSite(server, Stubs(opened(stack, server.anchors)), f"north-{idle.__name__}").join()
        other = Stubs(opened(stack, stack.enter_context(seen_as("127.0.0.7", server.anchors))))
        channels = [opened(stack, server.anchors) for _ in range(CONNECTIONS)]
        calls = [idle(channel) for channel in channels for _ in range(STREAMS)]
        for _ in range(5):
            assert other.pool.GetCapabilities(CAPABILITIES, timeout=TIMEOUT).origin
            assert site.stubs.pool.GetCapabilities(CAPABILITIES, timeout=TIMEOUT).origin
        assert wait_until(lambda: sum(call.done() for call in calls) >= len(calls) - STREAMS, 10)
        for call in calls:
            call.cancel()


@pytest.mark.parametrize("idle", [watching, reflecting, silent], ids=lambda idle: idle.__name__)
def test_an_idle_call_is_ended_by_the_server(server, idle):
    with contextlib.ExitStack() as stack:
        call = idle(opened(stack, server.anchors))
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
    error = from_rpc_error(caught.value, "the test")
    assert error.reason == "TOO_SLOW"
    assert retry_seconds(error) is not None


def test_reflection_still_answers_who_asks(server):
    with server.stubs() as stubs:
        ask = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        (found,) = reflection_pb2_grpc.ServerReflectionStub(stubs.channel).ServerReflectionInfo(ask, timeout=TIMEOUT)
    assert found.list_services_response.service


def test_one_call_too_many_of_a_caller_is_busy_and_says_when_to_come_back(tmp_path):
    with pool_server(tmp_path, quotas={"open_calls": 2}) as server, contextlib.ExitStack() as stack:
        stubs = Stubs(opened(stack, server.anchors))
        watches = [watching(stubs.channel) for _ in range(2)]
        for watch in watches:
            next(watch)
        error = refused(stubs.pool.GetCapabilities, CAPABILITIES)
        assert error.reason == "BUSY"
        assert retry_seconds(error) is not None
        watches[0].cancel()
        assert wait_until(lambda: answers(stubs))


def test_who_asks_again_at_once_hears_few_refusals(tmp_path):
    with pool_server(tmp_path, quotas={"open_calls": 1}) as server, contextlib.ExitStack() as stack:
        next(watching(opened(stack, server.anchors)))
        refusals = []

        def ask(stubs) -> None:
            try:
                stubs.pool.GetCapabilities(CAPABILITIES, timeout=TIMEOUT)
            except grpc.RpcError as exc:
                refusals.append(from_rpc_error(exc, "the test").reason)

        with greedy(server, ask, streams=20):
            began = len(refusals)
            time.sleep(2)
            heard = len(refusals) - began
    assert set(refusals) == {"BUSY"}
    assert heard <= 20 * 3  # each is held back for a second; without that there are hundreds


def answers(stubs) -> bool:
    try:
        return bool(stubs.pool.GetCapabilities(CAPABILITIES, timeout=TIMEOUT).origin)
    except grpc.RpcError:
        return False


def selection(count: int, classes: int) -> consume_pb2.SelectRequest:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    return consume_pb2.SelectRequest(
        blueprint="tiny-16", pixels=pixels.tobytes(), labels=[index % classes for index in range(count)]
    )


@pytest.fixture(scope="module")
def filled(server):
    with contextlib.ExitStack() as stack:
        site = WireSite(server, Stubs(opened(stack, server.anchors)), "filler").join()
        for number in range(3):
            site.contribute(np.random.default_rng(number))
    return server


@contextlib.contextmanager
def greedy(server, call, streams: int = 60):
    """So many threads that call in a closed loop, with gRPC's bare stubs."""
    stop, counts = threading.Event(), [0]

    def loop(channel) -> None:
        while not stop.is_set():
            with contextlib.suppress(grpc.RpcError):
                call(Stubs(channel))
            counts[0] += 1
            time.sleep(0.01)

    with contextlib.ExitStack() as stack:
        channels = [opened(stack, server.anchors) for _ in range(4)]
        threads = [threading.Thread(target=loop, args=(channels[n % 4],), daemon=True) for n in range(streams)]
        for thread in threads:
            thread.start()
        try:
            assert wait_until(lambda: counts[0] > streams // 4)
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def selecting(stubs):
    list(stubs.select.Select(selection(64, 2), timeout=30))


def selecting_and_leaving(stubs):
    call = stubs.select.Select(selection(64, 2), timeout=30)
    next(call)
    call.cancel()


def descending(stubs):
    size = types_pb2.SizeBudget(size=types_pb2.Size(depth=2, heads=2))
    list(stubs.descend.Descend(consume_pb2.DescendRequest(blueprint="tiny-16", budget=size), timeout=30))


@pytest.mark.slow
@pytest.mark.parametrize("call", [selecting, selecting_and_leaving, descending], ids=lambda call: call.__name__)
def test_beside_sixty_greedy_streams_nobody_else_hears_busy(filled, call):
    with contextlib.ExitStack() as stack:
        site = WireSite(
            filled, Stubs(opened(stack, filled.anchors)), f"polite-{call.__name__.replace('_', '-')}"
        ).join()
        polite = Stubs(opened(stack, stack.enter_context(seen_as("127.0.0.9", filled.anchors))))
        stack.enter_context(greedy(filled, call))
        for _ in range(3):
            selecting(polite)
            descending(polite)
            selecting(site.stubs)
            descending(site.stubs)


def test_a_selection_has_its_time_and_no_more(tmp_path):
    with pool_server(tmp_path, serving={"select_seconds": 0.001}) as server, server.stubs() as stubs:
        WireSite(server, stubs, "filler").join().contribute(np.random.default_rng(0))
        error = refused(stubs.select.Select, selection(64, 2))
    assert error.reason == "TOO_SLOW"
    assert retry_seconds(error) is not None


def test_our_client_waits_as_long_as_it_is_told_in_streams_too(tmp_path):
    with pool_server(tmp_path, quotas={"open_calls": 1}) as server, contextlib.ExitStack() as stack:
        connection = stack.enter_context(Connection(server.anchors, cache=tmp_path / "c", trust=tmp_path / "t"))
        connection.capabilities()
        watch = watching(opened(stack, server.anchors))
        next(watch)
        request = pool_pb2.GetBlueprintRequest(name="tiny-16")
        with pytest.raises(Unavailable):
            list(connection.stream(connection.pool.GetBlueprint, request, timeout=0.5))
        threading.Timer(0.5, watch.cancel).start()
        assert list(connection.stream(connection.pool.GetBlueprint, request, timeout=20))
