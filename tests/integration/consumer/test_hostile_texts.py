"""The consumer's real commands against a pool whose answers want to write on the terminal."""

import shutil

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from genepool_client.transport.channel import Connection
from genepool_protocol.v1 import consume_pb2, types_pb2
from genepool_protocol.wire.status import from_rpc_error
from tests.integration.consumer.conftest import TINY

EVIL = "\x1b]52;c;ZXZpbA==\x07\x9b2K\r\nstate: ACTIVE\u202e\u200b[b]x[/b]"


@pytest.fixture(autouse=True)
def fresh(own_home, tmp_path, monkeypatch):
    monkeypatch.setenv("GENEPOOL_CACHE", str(tmp_path / "cache"))
    yield
    shutil.rmtree(own_home / "config", ignore_errors=True)


@pytest.fixture
def select(run, server, pictures):
    """`genepool select` in one of the two modes."""
    return lambda mode: run(
        "select", "--pool", server.folder / "pool.json", "--blueprint", TINY, "--support", pictures, mode
    )


@pytest.fixture
def lie(monkeypatch):
    """From now on every streamed answer passes through this function."""
    true = Connection.stream

    def start(change):
        def stream(self, method, request, **options):
            for answer in (answers := true(self, method, request, **options)):
                change(answer)
                yield answer
            answers.close()

        monkeypatch.setattr(Connection, "stream", stream)

    return start


def event(answer) -> str | None:
    return answer.WhichOneof("event") if isinstance(answer, consume_pb2.SelectResponse) else None


def harmless(text: str) -> None:
    assert all(line.isprintable() for line in text.split("\n"))
    assert "state: ACTIVE" not in text.split("\n")


def reason(err: str) -> str:
    return err.strip().splitlines()[-1].removeprefix("error (").split(")")[0]


@pytest.mark.parametrize("entry", [{"site": f"north{EVIL}"}, {"license": f"CC-BY-4.0{EVIL}"}], ids=["site", "licence"])
@pytest.mark.parametrize("mode", ["--private", "--remote"])
def test_names_that_are_none_are_refused(select, lie, entry, mode):
    def change(answer):
        if isinstance(answer, consume_pb2.ListKeysResponse):
            answer.entry.MergeFrom(types_pb2.Entry(**entry))
        elif event(answer) == "selection":
            for one in answer.selection.candidates:
                one.entry.MergeFrom(types_pb2.Entry(**entry))

    lie(change)
    code, out, err = select(mode)
    assert (code, reason(err)) == (2, "NAME_INVALID")
    harmless(out + err)


def test_a_sentence_that_is_not_printable_is_refused(select, lie):
    def change(answer):
        if event(answer) == "selection":
            answer.selection.reason = f"the nearest{EVIL}"

    lie(change)
    code, out, err = select("--remote")
    assert (code, reason(err)) == (2, "FILE_MALFORMED")
    harmless(out + err)


def test_progress_notes_of_the_pool_are_printable(select, lie):
    def change(answer):
        if event(answer) == "progress":
            answer.progress.stage = f"scoring{EVIL}"

    lie(change)
    code, out, err = select("--remote")
    assert code == 0
    harmless(out + err)


class Refusal(grpc.RpcError):
    """What gRPC raises when a server ends a call with this status."""

    def __init__(self, why: str, fix: str) -> None:
        info = error_details_pb2.ErrorInfo(reason="BUSY", domain="genepool", metadata={"fix": fix})
        status = status_pb2.Status(code=8, message=why)
        status.details.add().Pack(info)
        self._status = rpc_status.to_status(status)

    def code(self):
        return grpc.StatusCode.RESOURCE_EXHAUSTED

    def details(self):
        return self._status.details

    def trailing_metadata(self):
        return self._status.trailing_metadata


@pytest.mark.parametrize("as_json", [False, True])
def test_an_error_of_the_pool_writes_nothing_of_its_own(run, server, pictures, monkeypatch, as_json):
    def refuse(self, method, request, **options):
        raise from_rpc_error(Refusal(f"wait{EVIL}", f"later{EVIL}"), "pool")

    monkeypatch.setattr(Connection, "stream", refuse)
    given = ["select", "--pool", server.folder / "pool.json", "--blueprint", TINY, "--support", pictures]
    code, out, err = run(*given, *(["--json"] if as_json else []))
    assert (code, reason(err)) == (5, "BUSY")
    assert "[b]x[/b]" in err
    harmless(out + err)
