"""The table of roles: whole, obeyed at every call and every message; and the rates beside it."""

import asyncio

import grpc
import grpc.aio
import pytest

from genepool_protocol.v1 import consume_pb2, contribute_pb2, operator_pb2, pool_pb2
from genepool_protocol.wire.access import ACCESS, ANYBODY, NETWORK_ROLES, ROLES, authorise
from genepool_protocol.wire.errors import Refused, Unavailable
from genepool_protocol.wire.status import from_rpc_error
from genepool_server.front.guards.access import AccessInterceptor
from genepool_server.front.guards.callers import Caller, operators
from genepool_server.front.guards.interceptor import ErrorInterceptor
from genepool_server.front.guards.rates import LIMITED, Rates
from tests.support import spec

METHODS = {
    f"/{service.full_name}/{method.name}"
    for module in (pool_pb2, contribute_pb2, consume_pb2, operator_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
RUNNER = asyncio.Runner()
SELECT, WRITE = "/genepool.v1.SelectService/Select", "/genepool.v1.ContributeService/Write"


@pytest.fixture(scope="module", autouse=True)
def _one_loop():
    with RUNNER:
        yield


def allowed(method, roles, *, certified=True) -> str:
    try:
        authorise(method, frozenset(roles), certified=certified)
    except Refused as exc:
        return exc.reason
    return "OK"


def test_every_method_of_every_service_is_in_the_table_and_nothing_else():
    assert set(ACCESS) == METHODS
    assert METHODS >= LIMITED


def test_the_table_of_the_specification_is_that_of_the_code():
    stated = {}
    for service, methods, roles in (row for row in spec.rows(spec.section(18)) if row[0].endswith("Service`")):
        for method in methods.replace("`", "").split(", "):
            stated[f"/genepool.v1.{service.strip('`')}/{method}"] = set(roles.split(", ")) - {"anybody"}
    assert stated == {method: set(roles) for method, roles in ACCESS.items()}


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_method_is_open_to_its_roles_and_closed_to_all_others(method):
    wanted = ACCESS[method]
    for role in ROLES:
        assert allowed(method, {role}) == ("OK" if wanted == ANYBODY or role in wanted else "ROLE_MISSING")
    assert allowed(method, (), certified=False) == ("OK" if wanted == ANYBODY else "CERT_REQUIRED")


def test_who_may_consume_without_a_certificate_may_do_nothing_else():
    for method, wanted in ACCESS.items():
        free = wanted in (ANYBODY, {"consumer"})
        assert allowed(method, {"consumer"}, certified=False) == ("OK" if free else "CERT_REQUIRED"), method


def test_nobody_calls_what_is_not_in_the_table():
    assert allowed("/genepool.v1.PoolService/Nothing", ROLES) == "ROLE_MISSING"


def test_no_role_of_the_network_operates():
    for method in METHODS:
        if "OperatorService" in method:
            assert allowed(method, NETWORK_ROLES) == "ROLE_MISSING"
    assert operators(None).roles == {"operator"}


def serve(callers, rates, play):
    """Play against a real server whose methods echo."""

    async def select(request, context):
        for number in range(100):
            yield b"%d" % number
            await asyncio.sleep(0)

    async def write(messages, context):
        return b"%d" % len([message async for message in messages])

    async def run():
        server = grpc.aio.server(interceptors=[ErrorInterceptor(10, deadlines=True), AccessInterceptor(callers, rates)])
        for path, handler in (
            (SELECT, grpc.unary_stream_rpc_method_handler(select)),
            (WRITE, grpc.stream_unary_rpc_method_handler(write)),
        ):
            _, service, method = path.split("/")
            server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {method: handler})])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await play(channel)
        await server.stop(0)

    RUNNER.run(run())


async def reason(awaited) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        await awaited
    return from_rpc_error(caught.value, "the test").reason


def test_a_running_answer_ends_at_its_next_message():
    roles, seen = {"consumer"}, []

    async def play(channel):
        call = channel.unary_stream(SELECT)(b"", timeout=10)
        seen.extend([await call.read() for _ in range(3)])
        roles.clear()

        async def rest():
            while (message := await call.read()) is not grpc.aio.EOF:
                seen.append(message)

        assert await reason(rest()) == "ROLE_MISSING"

    serve(lambda _: Caller("north", frozenset(roles)), None, play)
    assert 3 <= len(seen) < 100


def test_a_running_upload_ends_at_its_next_message():
    roles = {"contributor"}

    async def play(channel):
        call = channel.stream_unary(WRITE)(timeout=10)
        await call.write(b"first")
        await asyncio.sleep(0.1)
        roles.clear()
        await call.write(b"second")
        assert await reason(call) == "ROLE_MISSING"
        assert await reason(channel.stream_unary(WRITE)(iter([b"x"]), timeout=10)) == "ROLE_MISSING"
        roles.add("contributor")
        assert await channel.stream_unary(WRITE)(iter([b"x", b"y"]), timeout=10) == b"2"

    serve(lambda _: Caller("north", frozenset(roles)), None, play)


def test_a_caller_that_cannot_be_told_is_refused_with_the_callers_reason():
    def callers(context):
        raise Refused("CERT_EXPIRED", "it ended", "")

    async def play(channel):
        assert await reason(channel.unary_stream(SELECT)(b"", timeout=10).read()) == "CERT_EXPIRED"

    serve(callers, None, play)


def test_a_site_that_calls_too_often_waits_as_long_as_it_is_told():
    now = [0.0]
    rates, method = Rates(30, lambda: now[0]), next(iter(LIMITED))
    for _ in range(30):
        rates.take("north", method)
    with pytest.raises(Unavailable) as caught:
        rates.take("north", method)
    assert (caught.value.reason, caught.value.metadata["retry_seconds"]) == ("RATE_EXCEEDED", "2")
    rates.take("south", method)
    for _ in range(1000):
        rates.take("north", "/genepool.v1.ContributeService/QueryWriteStatus")
    now[0] += 2
    rates.take("north", method)
    with pytest.raises(Unavailable):
        rates.take("north", method)
    now[0] += 3600
    for _ in range(30):
        rates.take("north", method)
    with pytest.raises(Unavailable):
        rates.take("north", method)
