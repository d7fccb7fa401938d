"""The audit of a log by somebody who trusts nobody: a sound one passes, every lie is a violation."""

from datetime import UTC, datetime, timedelta

import pytest

from genepool_client.audit import source
from genepool_client.audit.verify import audit
from genepool_client.transport import log_memory
from genepool_protocol.trust import checkpoint, merkle, witness
from genepool_protocol.trust.keys import LogSigner, SigningKey
from genepool_protocol.wire.errors import GenepoolError
from tests.support import events as e
from tests.support.copies import Copy
from tests.support.trust import OPERATOR

NORTH = SigningKey.generate()
NOW = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
ENTRIES = [
    (None, e.site("north", "enrolled", NORTH)),
    (None, e.site("north", "approved", NORTH)),
    (NORTH, e.contribution(b"one")),
    (None, e.decision(b"one")),
    (NORTH, e.contribution(b"two")),
    (None, e.decision(b"two", passed=False)),
    (NORTH, e.withdrawal(b"one")),
    (None, e.erasure(b"one")),
]


@pytest.fixture
def copy():
    return Copy(ENTRIES)


def found(copy, folder, seen=()):
    return audit(source.folder(folder), copy.trusted, seen, NOW).report


def reasons(report):
    return [(one.index, one.reason) for one in report.violations]


def test_a_sound_log_is_told_in_numbers(copy, tmp_path):
    report = found(copy, copy.write(tmp_path), [copy.head(3), copy.head(8)])
    assert report.violations == []
    assert (report.size, report.continues) == (8, [3, 8])
    assert report.sites == {"north": "ACTIVE"}
    assert report.contributions == {"REJECTED": 1, "WITHDRAWN": 1}
    assert report.kinds == {
        "accepted": 2,
        "admitted": 1,
        "approved": 1,
        "enrolled": 1,
        "erased": 1,
        "rejected": 1,
        "withdrawn": 1,
    }


def test_an_empty_log_is_sound_unless_something_was_seen(copy, tmp_path):
    (tmp_path / "checkpoint").write_text("")
    assert found(copy, tmp_path).violations == []
    assert reasons(found(copy, tmp_path, [copy.head(1)])) == [(-1, "LOG_FORK")]


def test_a_log_longer_than_a_tile_passes(tmp_path):
    steps = ["suspended", "approved"] * 150
    long = Copy([*ENTRIES[:2], *((None, e.site("north", step, NORTH)) for step in steps)])
    report = found(long, long.write(tmp_path), [long.head(256), long.head(257)])
    assert (report.violations, report.size, report.kinds["approved"]) == ([], 302, 151)


@pytest.mark.parametrize("name", ["tile/entries/000.p/8", "statements/000.p/8", "tile/0/000.p/8"])
@pytest.mark.parametrize("at", [3, 700, -1])
def test_a_flipped_bit_in_any_file_is_a_violation(copy, tmp_path, name, at):
    path = copy.write(tmp_path) / name
    raw = bytearray(path.read_bytes())
    raw[at % len(raw)] ^= 1
    path.write_bytes(raw)
    try:
        assert found(copy, tmp_path).violations
    except GenepoolError as exc:
        assert exc.reason == "LOG_INVALID"


@pytest.mark.parametrize("name", ["tile/entries/000.p/8", "statements/000.p/8", "tile/0/000.p/8", "checkpoint"])
def test_a_copy_that_lacks_a_file_or_has_too_long_a_one_is_refused(copy, tmp_path, name):
    path = copy.write(tmp_path) / name
    raw = path.read_bytes()
    path.unlink()
    with pytest.raises(GenepoolError) as missing:
        found(copy, tmp_path)
    assert missing.value.reason == "FILE_MISSING"
    path.write_bytes(raw + b"x" * (1 << 20))
    with pytest.raises(GenepoolError) as longer:
        found(copy, tmp_path)
    assert longer.value.reason == "LOG_INVALID"


def test_a_head_of_another_key_or_origin_is_nothing_to_audit(copy, tmp_path):
    for signer in (LogSigner.generate(e.ORIGIN), LogSigner.generate("other/log")):
        copy.write(tmp_path, checkpoint.sign(8, copy.tree.root(), signer))
        with pytest.raises(GenepoolError) as caught:
            found(copy, tmp_path)
        assert caught.value.reason == "CHECKPOINT_INVALID"


def test_a_signed_root_that_the_leaves_do_not_give_is_a_violation(copy, tmp_path):
    copy.write(tmp_path, checkpoint.sign(8, merkle.leaf_hash(b"other"), copy.log))
    assert reasons(found(copy, tmp_path)) == [(-1, "LOG_INVALID")]


@pytest.mark.parametrize(
    ("key", "payload"),
    [
        pytest.param(None, e.decision(b"never accepted"), id="admission without acceptance"),
        pytest.param(SigningKey.generate(), e.withdrawal(b"two"), id="withdrawal by another site"),
        pytest.param(NORTH, e.erasure(b"two"), id="a site signs for the pool"),
        pytest.param(None, e.site("north", "enrolled", NORTH), id="enrolled twice"),
    ],
)
def test_a_pool_that_logs_what_may_not_be_is_found_out(copy, tmp_path, key, payload):
    lying = Copy()
    lying.log, lying.release, lying.entries = copy.log, copy.release, [*copy.entries]
    lying.entries.append(e.leaf(key or copy.release, payload))
    assert reasons(found(copy, lying.write(tmp_path))) == [(8, "LOG_INVALID")]


def test_a_forked_log_contradicts_the_checkpoint_that_was_seen(copy, tmp_path):
    other = Copy()
    other.log, other.release = copy.log, copy.release
    other.entries = [*copy.entries[:6], e.leaf(OPERATOR, e.site("north", "suspended", NORTH)), *copy.entries[6:]]
    other.write(tmp_path)
    assert reasons(found(copy, tmp_path, [copy.head(6)])) == []
    for size in (7, 8):
        assert reasons(found(copy, tmp_path, [copy.head(size)])) == [(-1, "LOG_FORK")]


def test_a_rolled_back_log_is_refused(copy, tmp_path):
    seen = copy.head()
    copy.entries = copy.entries[:5]
    assert reasons(found(copy, copy.write(tmp_path), [seen])) == [(-1, "LOG_FORK")]


def test_the_evidence_of_a_fork_is_kept_and_can_be_shown(copy, tmp_path):
    pinned = (copy.trusted, copy.anchors(tmp_path / "root"))
    log_memory.remember(copy.head(7), *pinned, copy.tree.consistency)
    assert log_memory.remembered(*pinned) == [copy.head(7)]
    other = Copy()
    other.log, other.release = copy.log, copy.release
    other.entries = [*copy.entries[:6], e.leaf(OPERATOR, e.site("north", "suspended", NORTH)), *copy.entries[6:]]
    done = audit(source.folder(other.write(tmp_path)), copy.trusted, log_memory.remembered(*pinned), NOW)
    kept = log_memory.contradiction(done.head, *pinned, done.tree)
    (pair,) = log_memory.evidence(None)
    assert (pair["seen"], pair["shown"]) == (copy.head(7).note, other.head().note)
    assert kept.is_dir()
    for note in (pair["seen"], pair["shown"]):
        assert checkpoint.verify(note, copy.log.public), "both are signed: that is the proof"


def test_a_head_without_its_quorum_of_witnesses_is_a_violation(tmp_path):
    copy = Copy(ENTRIES, witnesses=["w1.example", "w2.example", "w3.example"], quorum=2)
    time = int(NOW.timestamp())
    for count in range(4):
        lines = [witness.cosign(copy.head(), one, time) for one in copy.witnesses[:count]]
        noted = checkpoint.verify(witness.joined(copy.head().note, lines), copy.log.public)
        report = found(copy, copy.write(tmp_path, noted))
        assert reasons(report) == ([] if count >= 2 else [(-1, "WITNESSES_MISSING")])
        assert len(report.witnesses) == (count if count >= 2 else 0)


def test_a_frozen_head_is_refused_from_a_live_pool_and_fine_in_an_archive(tmp_path):
    copy = Copy(ENTRIES, witnesses=["w1.example"], quorum=1)
    line = witness.cosign(copy.head(), copy.witnesses[0], int((NOW - timedelta(hours=25)).timestamp()))
    head = checkpoint.verify(witness.joined(copy.head().note, [line]), copy.log.public)
    archived = source.folder(copy.write(tmp_path, head))
    assert audit(archived, copy.trusted, [], NOW).report.violations == []
    live = source.LogSource(archived.checkpoint, "", archived.read, live=True)
    assert reasons(audit(live, copy.trusted, [], NOW).report) == [(-1, "WITNESSES_MISSING")]


def test_a_head_that_continues_the_witnessed_one_is_sound_and_one_that_does_not_is_a_violation(tmp_path):
    copy = Copy(ENTRIES, witnesses=["w1.example"], quorum=1)
    line = witness.cosign(copy.head(5), copy.witnesses[0], int(NOW.timestamp()))
    copy.write(tmp_path)
    assert reasons(found(copy, tmp_path)) == [(-1, "WITNESSES_MISSING")]
    (tmp_path / "witnessed").write_text(witness.joined(copy.head(5).note, [line]))
    report = found(copy, tmp_path)
    assert (report.violations, report.witnesses, report.witnessed) == ([], ["w1.example"], 5)
    other = checkpoint.sign(5, merkle.leaf_hash(b"other"), copy.log)
    line = witness.cosign(other, copy.witnesses[0], int(NOW.timestamp()))
    (tmp_path / "witnessed").write_text(witness.joined(other.note, [line]))
    assert reasons(found(copy, tmp_path)) == [(-1, "LOG_FORK")]
