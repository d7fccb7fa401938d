"""A client's memory of the log: growing is fine, older is fine, anything else is caught and kept as evidence."""

import hashlib

import pytest

from genepool_client.transport.logview import LogView
from genepool_protocol.trust import checkpoint, merkle
from genepool_protocol.trust.keys import LogSigner
from genepool_protocol.wire.errors import GenepoolError, Refused

SIGNER = LogSigner.generate("pool.test/log")


class Log:
    """A real tree, with the proofs that a pool would give."""

    def __init__(self, name: str, size: int) -> None:
        self.tree = merkle.Tree(hashlib.sha256(f"{name}{i}".encode()).digest() for i in range(size))

    def note(self, size: int) -> str:
        return checkpoint.sign(size, self.tree.root(size), SIGNER).note

    def proof(self, old: int, new: int) -> list[bytes]:
        if new > len(self.tree):
            raise Refused("LOG_RANGE", "the log is shorter")
        return self.tree.consistency(old, new)


def view(folder, log: Log) -> LogView:
    return LogView(folder / "checkpoint", SIGNER.public, log.proof)


def caught_fork(view: LogView, note: str) -> GenepoolError:
    with pytest.raises(GenepoolError) as caught:
        view.observe(note)
    return caught.value


def test_a_growing_log_is_followed(tmp_path):
    log = Log("a", 9)
    assert view(tmp_path, log).observe("") is None
    for size in (1, 1, 4, 9):
        assert view(tmp_path, log).observe(log.note(size)).size == size
    assert view(tmp_path, log).seen().size == 9


def test_an_older_checkpoint_of_the_same_log_changes_nothing(tmp_path):
    log = Log("a", 9)
    view(tmp_path, log).observe(log.note(9))
    assert view(tmp_path, log).observe(log.note(5)).size == 9
    assert view(tmp_path, log).seen().size == 9


@pytest.mark.parametrize(("seen", "shown"), [(5, 5), (5, 9), (9, 5)])
def test_another_log_under_the_same_key_is_caught_with_evidence(tmp_path, seen, shown):
    first, second = Log("a", 9), Log("b", 9)
    view(tmp_path, first).observe(first.note(seen))
    found = caught_fork(view(tmp_path, second), second.note(shown))
    assert found.reason == "LOG_FORK"
    kept = {path.read_text() for path in (tmp_path / "fork-evidence").iterdir()}
    assert kept == {first.note(seen), second.note(shown)}
    assert view(tmp_path, first).seen().size == seen


def test_a_log_that_lost_entries_is_caught(tmp_path):
    log = Log("a", 9)
    view(tmp_path, log).observe(log.note(9))
    assert caught_fork(view(tmp_path, Log("a", 4)), Log("a", 4).note(4)).reason == "LOG_FORK"
    assert caught_fork(view(tmp_path, log), "").reason == "LOG_FORK"


def test_a_note_of_another_key_or_a_changed_memory_is_refused(tmp_path):
    log = Log("a", 3)
    other = checkpoint.sign(3, log.tree.root(3), LogSigner.generate("pool.test/log")).note
    assert caught_fork(view(tmp_path, log), other).reason == "CHECKPOINT_INVALID"
    view(tmp_path, log).observe(log.note(3))
    (tmp_path / "checkpoint").write_text(log.note(3).replace("\n3\n", "\n2\n"))
    assert caught_fork(view(tmp_path, log), log.note(3)).reason == "CHECKPOINT_INVALID"


def test_a_pool_that_is_away_is_no_fork(tmp_path):
    log = Log("a", 9)
    view(tmp_path, log).observe(log.note(4))

    def away(_old: int, _new: int) -> list[bytes]:
        raise GenepoolError("POOL_UNREACHABLE", "away")

    found = caught_fork(LogView(tmp_path / "checkpoint", SIGNER.public, away), log.note(9))
    assert found.reason == "POOL_UNREACHABLE"
    assert not (tmp_path / "fork-evidence").exists()
