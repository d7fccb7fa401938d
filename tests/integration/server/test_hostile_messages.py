"""Messages that no client of ours sends, to every method, over both ledgers: refused, with no word of the machine."""

import getpass
import random
import socket

import grpc
import pytest

from genepool_protocol.v1 import consume_pb2, contribute_pb2, pool_pb2
from tests.support import stores
from tests.support.server import TIMEOUT, channel, pool_server

MODULES = (pool_pb2, contribute_pb2, consume_pb2)
TEXTS = (
    "",
    "\0",
    "a\0b",
    "tiny-16",
    "f" * 64,
    "F" * 64,
    "0" * 64,
    "x" * 100_000,
    "\x1b[2K",
    "ü",
    "../../etc/passwd",
    "1.0",
)


@pytest.fixture(scope="module", params=stores.KINDS)
def running(request, tmp_path_factory):
    changes = {} if request.param == stores.KINDS[0] else {"ledger": stores.database()}
    with pool_server(tmp_path_factory.mktemp("hostile"), **changes) as server:
        yield server, changes


def value(field, rng):
    if field.type == field.TYPE_STRING:
        return rng.choice(TEXTS)
    if field.type == field.TYPE_BYTES:
        return rng.choice((b"", b"\0", b"{}", rng.randbytes(100), b"{" * 70_000))
    if field.type == field.TYPE_BOOL:
        return rng.random() < 0.5
    if field.type == field.TYPE_ENUM:
        return rng.choice((0, 1, 2))
    return rng.choice((0, 1, 2**31 - 1) + ((2**63 - 1, 2**64 - 1) if field.type == field.TYPE_UINT64 else ()))


def fill(message, rng):
    for field in message.DESCRIPTOR.fields:
        if rng.random() < 0.2:
            continue
        if field.is_repeated and field.message_type is None:
            getattr(message, field.name).extend([value(field, rng)] * rng.choice((0, 1, 2, 300, 70_000)))
        elif field.is_repeated:
            for _ in range(rng.choice((0, 1, 2, 70))):
                fill(getattr(message, field.name).add(), rng)
        elif field.message_type is not None:
            fill(getattr(message, field.name), rng)
        else:
            setattr(message, field.name, value(field, rng))
    return message


def calls(rng, times):
    for module in MODULES:
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                kind = getattr(module, method.input_type.name)
                for _ in range(times):
                    yield service, method, fill(kind(), rng).SerializeToString()
                yield service, method, b"\xff\xff\xff"


def ask(opened, service, method, raw):
    shape = (
        ("stream" if method.client_streaming else "unary") + "_" + ("stream" if method.server_streaming else "unary")
    )
    call = getattr(opened, shape)(f"/{service.full_name}/{method.name}")
    made = call(iter([raw]) if method.client_streaming else raw, timeout=TIMEOUT)
    if method.server_streaming:
        list(made)


def secrets(server, changes):
    told = [str(server.folder), socket.gethostname(), "psycopg", "sqlite3", "/tmp/"]
    if changes:
        told += ["dbname", "host=", stores.postgres().rpartition("=")[2]]
    return [*told, f"user={getpass.getuser()}"]


def test_no_message_of_a_stranger_is_answered_with_a_failure_or_a_word_of_the_machine(running):
    server, changes = running
    rng, wrong = random.Random(7), []
    with channel(server.anchors) as opened:
        for service, method, raw in calls(rng, 6):
            if len(raw) > 2 << 20:
                continue
            try:
                ask(opened, service, method, raw)
            except grpc.RpcError as exc:
                said = f"{exc.details()} {exc.trailing_metadata()}"
                if exc.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
                    wrong.append((method.name, said[:200]))
                wrong += [(method.name, secret) for secret in secrets(server, changes) if secret in said]
    assert wrong == []
