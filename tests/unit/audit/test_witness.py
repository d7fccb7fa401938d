"""What a witness cosigns: only what continues the last checkpoint that it saw, whoever asks first."""

import hashlib
import threading
from datetime import UTC, datetime

import pytest

from genepool_client.audit.witness import Witness
from genepool_client.transport import log_memory
from genepool_protocol.trust import checkpoint, merkle
from genepool_protocol.trust import witness as cosigning
from genepool_protocol.trust.keys import LogSigner
from genepool_protocol.wire.errors import GenepoolError

SIGNER = LogSigner.generate("pool.test/log")
LOG = SIGNER.public
NOW = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)


def tree(name, size):
    return merkle.Tree(hashlib.sha256(f"{name if n >= 4 else ''}{n}".encode()).digest() for n in range(size))


def note(name, size):
    return checkpoint.sign(size, tree(name, size).root(), SIGNER).note


def proof(name, old, new):
    return tree(name, new).consistency(old, new)


@pytest.fixture
def witness(tmp_path):
    return Witness.create(tmp_path / "witness", "witness.example/one")


def refused(call, *args):
    with pytest.raises(GenepoolError) as caught:
        call(*args)
    return caught.value


def test_it_follows_a_growing_log_and_its_line_holds(witness):
    size = 0
    for new in (3, 3, 5, 9):
        steps = proof("a", size, new) if 0 < size < new else []
        head = witness.add_checkpoint(LOG, size, steps, note("a", new), NOW)
        assert cosigning.cosignatures(head.note, [witness.signer.public])[0].time == int(NOW.timestamp())
        size = new
    assert Witness(witness._folder).seen(LOG).size == 9
    assert (witness._folder / "key.pem").stat().st_mode & 0o777 == 0o600


def test_a_wrong_old_size_is_refused_with_the_right_one(witness):
    witness.add_checkpoint(LOG, 0, [], note("a", 5), NOW)
    for old in (0, 4, 6):
        found = refused(witness.add_checkpoint, LOG, old, [], note("a", 9), NOW)
        assert (found.reason, found.metadata) == ("LOG_RANGE", {"size": "5"})
    assert refused(witness.add_checkpoint, LOG, 5, [], note("a", 3), NOW).reason == "LOG_RANGE"


def test_a_fork_is_refused_and_another_root_of_one_size_is_kept_as_evidence(witness):
    witness.add_checkpoint(LOG, 0, [], note("a", 5), NOW)
    assert refused(witness.add_checkpoint, LOG, 5, proof("b", 5, 9), note("b", 9), NOW).reason == "PROOF_INVALID"
    assert refused(witness.add_checkpoint, LOG, 5, [], note("b", 5), NOW).reason == "LOG_FORK"
    (pair,) = log_memory.evidence(witness._folder)
    assert (pair["seen"], pair["shown"]) == (note("a", 5), note("b", 5))
    assert witness.seen(LOG).note == note("a", 5)


def test_a_checkpoint_of_another_key_is_refused(witness):
    other = checkpoint.sign(3, tree("a", 3).root(), LogSigner.generate("pool.test/log")).note
    assert refused(witness.add_checkpoint, LOG, 0, [], other, NOW).reason == "CHECKPOINT_INVALID"
    assert refused(witness.add_checkpoint, LOG, 0, [b"x" * 32], note("a", 3), NOW).reason == "PROOF_INVALID"
    assert witness.seen(LOG) is None


def test_of_two_requests_for_one_size_that_exclude_each_other_one_is_cosigned(witness):
    """The race in the text of C2SP tlog-witness: both read size 4, both proofs hold, the roots differ."""
    witness.add_checkpoint(LOG, 0, [], note("a", 4), NOW)
    for _ in range(5):
        start, found = threading.Barrier(2), []

        def ask(name, start=start, found=found):
            start.wait()
            try:
                found.append(
                    Witness(witness._folder).add_checkpoint(LOG, 4, proof(name, 4, 9), note(name, 9), NOW).root
                )
            except GenepoolError as exc:
                found.append(exc.reason)

        threads = [threading.Thread(target=ask, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(isinstance(one, bytes) for one in found) == [False, True]
        assert "LOG_RANGE" in found
        (witness._place(LOG) / "checkpoint").write_text(note("a", 4))


def test_a_witness_is_made_once_and_needs_its_files(witness, tmp_path):
    assert refused(Witness.create, witness._folder, "other").reason == "PATH_NOT_EMPTY"
    assert refused(Witness, tmp_path / "nothing").reason == "FILE_MISSING"
    assert refused(Witness.create, tmp_path / "new", "a name with blanks").reason == "NAME_INVALID"
