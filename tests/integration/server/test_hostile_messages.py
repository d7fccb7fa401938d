"""Messages that no client of ours sends, to every method, over both ledgers: refused, with no word of the machine."""

import getpass
import random
import socket

import grpc
import pytest

from genepool_protocol.machine import operator_door
from genepool_protocol.v1 import consume_pb2, contribute_pb2, operator_pb2, operator_pb2_grpc, pool_pb2
from genepool_protocol.v1 import operator_pb2 as op
from genepool_protocol.wire import forms
from genepool_protocol.wire.access import NETWORK_ROLES
from genepool_protocol.wire.errors import StorageError
from genepool_protocol.wire.status import from_rpc_error
from genepool_server.front.guards.telling import SENTENCES
from genepool_server.pool.contributions.contributions import Contributions
from tests.integration.server.wire import WireSite, refused
from tests.support import stores
from tests.support.server import TIMEOUT, channel, pool_server

MODULES = (pool_pb2, contribute_pb2, consume_pb2)
MOST = 1 << 20
"""Bytes of one list: what is longer than a message never reaches a service."""

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
    "f" * 32,
    "A" * 43,
    "CC-BY-4.0",
    "tile/0/000",
    "timestamp.json",
)


QUOTAS = {"calls_per_minute": 60_000, "anonymous_descents_per_minute": 60_000}
"""Else the rates would refuse what is meant for the services."""


@pytest.fixture(scope="module", params=stores.KINDS)
def running(request, tmp_path_factory):
    changes = {} if request.param == stores.KINDS[0] else {"ledger": stores.database()}
    with pool_server(tmp_path_factory.mktemp("hostile"), quotas=QUOTAS, **changes) as server:
        yield server, changes


@pytest.fixture(scope="module")
def certified(running):
    """The channel of a site that may do all that sites may."""
    server, _ = running
    with server.stubs() as stubs:
        site = WireSite(server, stubs, "site-1").join(roles=NETWORK_ROLES)
        with site.stubs.channel as opened:
            yield opened


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
            one = value(field, rng)
            size = len(one) if isinstance(one, str | bytes) else 1
            getattr(message, field.name).extend([one] * min(rng.choice((0, 1, 2, 300, 70_000)), MOST // (size + 2)))
        elif field.is_repeated:
            for _ in range(rng.choice((0, 1, 2, 70))):
                fill(getattr(message, field.name).add(), rng)
        elif field.message_type is not None:
            fill(getattr(message, field.name), rng)
        else:
            setattr(message, field.name, value(field, rng))
    return message


def plausible(message, rng):
    """Every field has its form, so that the message reaches the service."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None:
            into = getattr(message, field.name)
            plausible(into.add() if field.is_repeated else into, rng)
            continue
        form = forms.FORMS.get(field.full_name)
        fitting = next(one for one in (value(field, rng) for _ in range(1000)) if form is None or not form.problem(one))
        if field.is_repeated:
            getattr(message, field.name).append(fitting)
        else:
            setattr(message, field.name, fitting)
    return message


def spoiled(kind, rng):
    """Plausible messages, in each of which one text holds a NUL or one list has no end, and the field."""
    for field in kind.DESCRIPTOR.fields:
        message = plausible(kind(), rng)
        if field.is_repeated and field.message_type is None:
            getattr(message, field.name).extend(list(getattr(message, field.name)) * 3000)
        elif field.type == field.TYPE_STRING:
            setattr(message, field.name, "a\0b")
        else:
            continue
        yield field, message


def calls(rng, times, modules=MODULES):
    for module in modules:
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                kind = getattr(module, method.input_type.name)
                for _ in range(times):
                    yield service, method, fill(kind(), rng).SerializeToString()
                    yield service, method, plausible(kind(), rng).SerializeToString()
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


def failures(opened, told, messages):
    """What was answered with a failure, or with one of these words, and how many messages reached a service."""
    wrong, reached = [], 0
    for service, method, raw in messages:
        if len(raw) > 2 << 20:
            continue
        try:
            ask(opened, service, method, raw)
            reached += 1
        except grpc.RpcError as exc:
            said = f"{exc.details()} {exc.trailing_metadata()}"
            reached += not any(reason in said for reason in ("FIELD_MALFORMED", "CERT_REQUIRED", "ROLE_MISSING"))
            if exc.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
                wrong.append((method.name, said[:200]))
            wrong += [(method.name, word) for word in told if word in said]
    return wrong, reached


def test_no_message_of_a_stranger_is_answered_with_a_failure_or_a_word_of_the_machine(running):
    server, changes = running
    with channel(server.anchors) as opened:
        wrong, reached = failures(opened, secrets(server, changes), calls(random.Random(7), 8))
    assert wrong == []
    assert reached > 50


def test_no_message_of_an_enrolled_site_is_either(running, certified):
    server, changes = running
    wrong, reached = failures(certified, secrets(server, changes), calls(random.Random(8), 8))
    assert wrong == []
    assert reached > 100


def test_every_method_refuses_a_text_with_a_nul_and_an_endless_list_by_its_form(certified):
    """What comes of them behind the form differs with the ledger, so they must not get there."""
    asked = 0
    for module in MODULES:
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                for field, message in spoiled(getattr(module, method.input_type.name), random.Random(9)):
                    with pytest.raises(grpc.RpcError) as caught:
                        ask(certified, service, method, message.SerializeToString())
                    told = from_rpc_error(caught.value, "the test")
                    assert told.reason == forms.FORMS[field.full_name].reason, field.full_name
                    assert f"the field {field.name} " in told.message
                    asked += 1
    assert asked > 20


def test_the_operators_socket_holds_the_same_forms(running):
    server, _ = running
    path = operator_door.running(server.folder)
    with grpc.insecure_channel(f"unix:{path}", options=[("grpc.enable_http_proxy", 0)]) as opened:
        for method, request in (
            ("Invite", op.InviteRequest(site="a\0b")),
            ("ChangeSite", op.ChangeSiteRequest(site="../x")),
            ("ListContributions", op.ListContributionsRequest(prefix="%")),
            ("DecideContribution", op.DecideContributionRequest(contribution_id="f" * 64, note="\x1b[2K")),
            ("WithdrawContribution", op.WithdrawContributionRequest(contribution_id="F" * 64)),
            ("Backup", op.BackupRequest(folder="/tmp/\0")),
        ):
            (service,) = operator_pb2.DESCRIPTOR.services_by_name.values()
            with pytest.raises(grpc.RpcError) as caught:
                ask(opened, service, service.methods_by_name[method], request.SerializeToString())
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, method
            assert from_rpc_error(caught.value, "the test").reason in ("FIELD_MALFORMED", "NAME_INVALID"), method


def test_a_disk_that_fails_is_a_constant_sentence_on_the_network_and_all_of_it_for_the_operator(running, monkeypatch):
    server, _ = running
    secret = f"the disk refuses {server.folder}/ledger.sqlite"

    def broken(*_args, **_options):
        raise StorageError("DISK_FAILED", secret, "look at the disk")

    monkeypatch.setattr(Contributions, "standing", broken)
    monkeypatch.setattr(Contributions, "decide", broken)
    with server.stubs() as stubs:
        request = consume_pb2.CheckStatusRequest(contribution_ids=["f" * 64])
        told = refused(stubs.descend.CheckStatus, request)
    assert (told.reason, told.message) == ("DISK_FAILED", SENTENCES["DISK_FAILED"][0])
    assert str(server.folder) not in told.diagnostics()
    path = operator_door.running(server.folder)
    with grpc.insecure_channel(f"unix:{path}", options=[("grpc.enable_http_proxy", 0)]) as opened:
        operator = operator_pb2_grpc.OperatorServiceStub(opened)
        request = op.DecideContributionRequest(contribution_id="f" * 64, state=contribute_pb2.CONTRIBUTION_STATE_ACTIVE)
        told = refused(operator.DecideContribution, request)
    assert (told.reason, told.message) == ("DISK_FAILED", secret)
