"""The egress guard: a receipt passes, and nothing else does, however the app tries."""

import errno

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.supercore.task_identity import TaskIdentity

from genepool_client.site.flower import failures, guard
from genepool_protocol.wire.errors import error

RECEIPT = {"contribution-id": "ab" * 32, "sha256": "cd" * 32, "size-bytes": 7, "status": "ACTIVE", "code": "0.1.0+0"}
SECRET = "/data/patient-4711.png"


def ask(answer, **node_config) -> Message:
    """The reply of a real ClientApp whose function is `answer(message) -> Message`."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
    app = ClientApp(mods=[guard.receipt_only_mod])
    app.query("contribute")(lambda message, _context: answer(message))
    message = Message(RecordDict({"config": ConfigRecord()}), 7, "query.contribute")
    return app(message, Context(run_id=1, node_id=7, node_config=node_config, state=RecordDict(), run_config={}))


def replying(**records):
    return lambda message: Message(RecordDict(records), reply_to=message)


def arrays() -> ArrayRecord:
    return ArrayRecord({"w": Array(np.zeros(100_000, dtype=np.float32))})


def test_a_receipt_passes():
    reply = ask(replying(receipt=ConfigRecord(RECEIPT)))
    assert not reply.has_error()
    assert dict(reply.content["receipt"]) == RECEIPT


LEAKS = {
    "weights": {"receipt": ConfigRecord(RECEIPT), "weights": arrays()},
    "weights as the receipt": {"receipt": arrays()},
    "metrics": {"receipt": MetricRecord({"accuracy": 0.5})},
    "nothing": {},
    "another name": {SECRET: ConfigRecord(RECEIPT)},
    "one member more": {"receipt": ConfigRecord(RECEIPT | {SECRET: "x"})},
    "one member less": {"receipt": ConfigRecord({k: v for k, v in RECEIPT.items() if k != "status"})},
    "a long text": {"receipt": ConfigRecord(RECEIPT | {"status": "x" * 129})},
    "bytes": {"receipt": ConfigRecord(RECEIPT | {"sha256": b"x" * 32})},
    "a list": {"receipt": ConfigRecord(RECEIPT | {"sha256": ["x"] * 32})},
    "a truth value": {"receipt": ConfigRecord(RECEIPT | {"size-bytes": True})},
}


@pytest.mark.parametrize("records", LEAKS.values(), ids=LEAKS)
def test_anything_else_is_replaced_by_a_constant(records, caplog):
    reply = ask(replying(**records))
    assert reply.error.code == failures.GUARDED.code
    assert SECRET not in str(reply.error)
    assert reply.error.reason == ask(replying()).error.reason
    assert "egress guard" in caplog.text
    assert SECRET not in caplog.text


def test_an_exception_says_nothing_of_itself_to_the_server_and_kind_and_place_to_the_log(caplog):
    def fail(_message):
        raise ValueError(f"cannot read {SECRET}")

    reply = ask(fail)
    assert reply.error.code == failures.FAILED.code
    assert "ValueError" not in reply.error.reason
    assert SECRET not in reply.error.reason
    assert SECRET not in caplog.text
    assert "ValueError at test_guard.py:" in caplog.text


def test_an_error_reply_loses_its_text(caplog):
    reply = ask(lambda message: Message(Error(code=7, reason=SECRET), reply_to=message))
    assert (reply.error.code, SECRET in reply.error.reason) == (failures.FAILED.code, False)
    assert "an error of code 7" in caplog.text
    assert SECRET not in caplog.text


CAUSES = {
    "no pool": (error("POOL_UNREACHABLE", SECRET), failures.UNREACHABLE),
    "a proxy": (error("PROXY_REFUSED", SECRET), failures.UNREACHABLE),
    "not active": (error("SITE_NOT_ACTIVE", SECRET), failures.NOT_TAKEN),
    "other images": (error("DATA_CHANGED", SECRET), failures.UNUSABLE),
    "no images": (error("FOLDER_EMPTY", SECRET), failures.UNUSABLE),
    "locked": (error("FOLDER_IN_USE", SECRET), failures.IN_USE),
    "a full disk": (OSError(errno.ENOSPC, "full", SECRET), failures.NO_DISK),
    "another log": (error("LOG_FORK", SECRET), failures.UNTRUSTED),
    "a defect": (KeyError(SECRET), failures.FAILED),
}


@pytest.mark.parametrize(("cause", "failure"), CAUSES.values(), ids=CAUSES)
def test_each_cause_is_told_as_itself_in_constant_words(cause, failure):
    def fail(_message):
        raise cause

    reply = ask(fail)
    assert (reply.error.code, reply.error.reason) == (failure.code, failure.sentence)
    assert failures.of_code(reply.error.code) == failure


def test_codes_that_are_not_the_sites_are_told_as_one():
    assert {failures.of_code(code) for code in (0, 2, 8, 999, 1009, -1)} == {failures.FAILED}
    assert failures.of_code(ErrorCode.INVALID_FAB) == failures.UNPINNED
    assert max(len(failure.sentence) for failure in failures.ALL.values()) <= 200  # what a report shows
