"""The error tree: exit codes, pickling, the table."""

import pickle

import grpc
import pytest

from genepool_protocol.wire import errors


def test_every_class_has_an_exit_code_of_its_own():
    kinds = {row.kind for row in errors.REASONS.values()}
    assert sorted(kind.exit_code for kind in kinds) == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(("reason", "row"), sorted(errors.REASONS.items()))
def test_every_row_names_a_grpc_status_code(reason, row):
    assert row.code in grpc.StatusCode.__members__
    assert issubclass(row.kind, errors.GenepoolError)
    assert type(errors.error(reason, "x")) is row.kind


def test_an_error_survives_pickling_with_everything():
    raised = errors.error("OFFSET", "the offset is wrong", "resume", committed_size="12")
    found = pickle.loads(pickle.dumps(raised))
    assert type(found) is errors.Refused
    assert (found.reason, found.message, found.fix, found.metadata, str(found)) == (
        "OFFSET",
        "the offset is wrong",
        "resume",
        {"committed_size": "12"},
        "the offset is wrong",
    )


def test_diagnostics_joins_the_sentence_and_the_fix():
    assert errors.error("BUSY", "full", "wait").diagnostics() == "full; wait"
