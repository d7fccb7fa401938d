"""Every row of the error table crosses a real gRPC call and comes back as the same class."""

from concurrent import futures

import grpc
import pytest

from genepool_protocol.v1 import pool_pb2, pool_pb2_grpc
from genepool_protocol.wire import errors, status
from genepool_protocol.wire.status import REQUEST_ID, request_of, to_status


class Failing(pool_pb2_grpc.LogServiceServicer):
    """Fails as its `failure` says, on the way that the front takes."""

    failure: object = None

    def GetCheckpoint(self, request, context):  # noqa: N802
        context.abort_with_status(self.failure)

    def GetEntries(self, request, context):  # noqa: N802
        return pool_pb2.GetEntriesResponse(leaves=[b"x" * (5 << 20)])


@pytest.fixture(scope="module")
def log():
    servicer = Failing()
    server = grpc.server(futures.ThreadPoolExecutor(1))
    pool_pb2_grpc.add_LogServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield servicer, pool_pb2_grpc.LogServiceStub(channel)
    server.stop(0).wait()


def come_back(log, failure) -> errors.GenepoolError:
    servicer, stub = log
    servicer.failure = failure
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetCheckpoint(pool_pb2.GetCheckpointRequest(), timeout=20)
    return status.from_rpc_error(caught.value, "pool.example:1")


@pytest.mark.parametrize("reason", sorted(errors.REASONS))
def test_every_reason_comes_back_as_the_class_that_was_raised(log, reason):
    raised = errors.error(reason, f"sentence of {reason}: größe", "mend it", committed_size="7")
    found = come_back(log, status.to_status(raised))
    assert type(found) is errors.REASONS[reason].kind
    assert (found.reason, found.message, found.fix, found.metadata) == (
        reason,
        raised.message,
        "mend it",
        {"committed_size": "7"},
    )


@pytest.mark.parametrize("reason", sorted(errors.REASONS))
def test_the_status_code_is_the_tables(reason):
    assert status.to_status(errors.error(reason, "x")).code is grpc.StatusCode[errors.REASONS[reason].code]


def test_a_reason_of_a_newer_peer_becomes_a_plain_error_that_keeps_it(log):
    found = come_back(log, status.to_status(errors.GenepoolError("FROM_THE_FUTURE", "later")))
    assert (type(found), found.reason, found.message) == (errors.GenepoolError, "FROM_THE_FUTURE", "later")


def test_an_error_without_a_fix_comes_back_without_one(log):
    found = come_back(log, status.to_status(errors.Refused("OFFSET", "no")))
    assert (found.fix, found.metadata, found.diagnostics()) == ("", {}, "no")


def test_a_sentence_that_has_no_utf8_and_is_endless_still_arrives(log):
    raised = errors.InvalidInput("PATH_MISSING", "file \udc80 " + "x" * 100_000, "fix \udc80", path="\udc80")
    found = come_back(log, status.to_status(raised))
    assert found.reason == "PATH_MISSING"
    assert found.message.startswith("file ? xxx")


def test_metadata_named_like_an_argument_of_ours_does_no_harm(log):
    raised = errors.Refused("OFFSET", "no")
    raised.metadata = {"reason": "A", "message": "B"}
    found = come_back(log, status.to_status(raised))
    assert (found.reason, found.metadata) == ("OFFSET", {"reason": "A", "message": "B"})


class Plain(grpc.Status):
    def __init__(self, code, details="", metadata=()):
        self.code, self.details, self.trailing_metadata = code, details, metadata


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("UNAVAILABLE", "POOL_UNREACHABLE"),
        ("CANCELLED", "POOL_UNREACHABLE"),
        ("UNKNOWN", "POOL_UNREACHABLE"),
        ("DEADLINE_EXCEEDED", "TOO_SLOW"),
        ("RESOURCE_EXHAUSTED", "BUSY"),
        ("UNIMPLEMENTED", "INTERNAL"),
        ("INTERNAL", "INTERNAL"),
    ],
)
def test_a_status_that_is_not_ours_has_a_reason_too(log, code, reason):
    found = come_back(log, Plain(grpc.StatusCode[code], "text of somebody else"))
    assert found.reason == reason
    assert "somebody else" not in found.message


def test_a_status_that_contradicts_itself_counts_as_the_plain_one(log):
    contradiction = status.to_status(errors.Refused("OFFSET", "no"))
    lying = Plain(grpc.StatusCode.UNAVAILABLE, "no", contradiction.trailing_metadata)
    assert come_back(log, lying).reason == "POOL_UNREACHABLE"
    assert come_back(log, Plain(grpc.StatusCode.UNAVAILABLE, "no", (("grpc-status-details-bin", b"\xff"),))).reason == (
        "POOL_UNREACHABLE"
    )


def test_a_message_above_grpcs_limit_is_named_as_such(log):
    with pytest.raises(grpc.RpcError) as caught:
        log[1].GetEntries(pool_pb2.GetEntriesRequest(), timeout=20)
    assert status.from_rpc_error(caught.value, "pool.example:1").reason == "MESSAGE_TOO_LARGE"


def test_nobody_at_the_address():
    with grpc.insecure_channel("127.0.0.1:1") as channel, pytest.raises(grpc.RpcError) as caught:
        pool_pb2_grpc.LogServiceStub(channel).GetCheckpoint(pool_pb2.GetCheckpointRequest(), timeout=20)
    found = status.from_rpc_error(caught.value, "127.0.0.1:1")
    assert (type(found), found.reason) == (errors.Unavailable, "POOL_UNREACHABLE")


def test_an_error_without_a_call_has_a_reason():
    assert status.from_rpc_error(grpc.RpcError(), "pool.example:1").reason == "INTERNAL"


@pytest.mark.parametrize("given", ["3f2a3f2a3f2a3f2a", "", "short", "\x1b[2J" * 4, "3F2A3F2A3F2A3F2A"])
def test_an_error_carries_the_id_of_its_request_if_it_is_one(given):
    status = to_status(errors.error("BUSY", "full", "wait"), given)
    assert request_of(status.trailing_metadata) == (given if given == "3f2a3f2a3f2a3f2a" else "")
    assert (REQUEST_ID in dict(status.trailing_metadata)) == bool(given)


def test_an_id_of_two_values_is_none_and_an_error_says_the_one():
    assert request_of([(REQUEST_ID, "0" * 16), (REQUEST_ID, "1" * 16)]) == ""
    assert request_of(None) == ""
    told = errors.error("BUSY", "full", "wait", request="3f2a3f2a3f2a3f2a")
    assert told.diagnostics() == "full; wait (request 3f2a3f2a3f2a3f2a)"
    assert request_of(to_status(told).trailing_metadata) == ""
