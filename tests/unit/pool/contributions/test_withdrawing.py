"""Withdrawal: by whom, at once, for ever; logged, erased, and with a list of what cannot be recalled."""

import base64
import contextlib
import os
import sqlite3

import pytest

from genepool_protocol.trust import envelope, events, receipt
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.wire.errors import GenepoolError, StorageError
from genepool_server.pool.contributions import withdrawal
from genepool_server.pool.upkeep.fsck import examine, fsck
from genepool_server.records import Descended
from tests.support import sites as c
from tests.support.refusals import reason_of


def signed(pool, contribution_id, key, /, **changes):
    """A withdrawal of that contribution, signed by that key."""
    values = {
        "pool": pool.origin,
        "time": "2026-07-01T12:00:00Z",
        "contribution_id": contribution_id,
        "sha256": "0" * 64,
    }
    with contextlib.suppress(GenepoolError):
        values["sha256"] = pool.contributions.get(contribution_id).sha256
    return envelope.sign_statement(key, events.Withdrawal(**(values | changes)).payload())


@pytest.fixture
def done(place):
    return place.contribute()


def test_a_site_withdraws_and_holds_the_proof(place, done):
    path = place.pool.contributions.get(done.contribution_id).path
    assert path.is_file()
    answer = place.withdrawals.withdraw(signed(place.pool, done.contribution_id, place.a.key, reason="consent ended"))
    assert (answer.contribution_id, answer.erased, answer.descendants) == (done.contribution_id, True, 0)
    bundle = envelope.parse(answer.receipt)
    logged = receipt.verify(bundle, envelope.verify(bundle, place.a.key.public), place.pool.log.keys)
    assert logged.index == 6
    found = place.pool.contributions.get(done.contribution_id)
    assert (found.state, found.note) == ("WITHDRAWN", "consent ended")
    assert c.active(place.pool) == []
    assert not path.exists()
    assert place.pool.contributions.standing(done.contribution_id).withdrawal == answer.receipt
    assert examine(place.folder).problems == examine(place.folder).notes == []


def test_withdrawing_again_gives_the_same_answer_and_no_leaf(place, done):
    first = place.withdrawals.withdraw(signed(place.pool, done.contribution_id, place.a.key))
    head = place.pool.heads.latest()
    again = signed(place.pool, done.contribution_id, place.a.key, reason="another")
    assert place.withdrawals.withdraw(again) == first
    assert place.pool.contributions.withdraw_as_operator(done.contribution_id, "") == first
    assert place.reopen().contributions.withdrawals.withdraw(again) == first
    assert place.pool.heads.latest() == head


def test_nobody_but_its_site_and_the_operator_withdraws_a_contribution(place, done):
    pool, name = place.pool, done.contribution_id
    head = pool.heads.latest()
    decision = events.Decision(
        pool=pool.origin,
        time="2026-07-01T12:00:00Z",
        contribution_id=name,
        sha256=pool.contributions.get(name).sha256,
        passed=False,
        policy="operator",
    )
    forged = signed(pool, name, SigningKey.generate())
    cases = {
        "SITE_MISMATCH": signed(pool, name, place.b.key),
        "KEY_UNKNOWN": forged,
        "AUDIENCE_MISMATCH": signed(pool, name, place.a.key, pool="other/log"),
        "CONTRIBUTION_UNKNOWN": signed(pool, "f" * 64, place.a.key),
        "STATEMENT_MALFORMED": signed(pool, name, place.a.key, sha256="0" * 64),
        "BUNDLE_MALFORMED": b"{}",
    }
    for reason, bundle in cases.items():
        assert reason_of(pool.contributions.withdrawals.withdraw, bundle) == reason
    assert (
        reason_of(pool.contributions.withdrawals.withdraw, envelope.sign_statement(place.a.key, decision.payload()))
        == "STATEMENT_MALFORMED"
    )
    good = envelope.parse(signed(pool, name, place.a.key))
    other = envelope.parse(signed(pool, name, place.b.key))
    swapped = signed(pool, name, place.a.key).replace(_b64(good.signature), _b64(other.signature))
    assert reason_of(pool.contributions.withdrawals.withdraw, swapped) == "SIGNATURE_INVALID"
    pool.sites.suspend("site-a")
    pool.sites.revoke("site-a")
    assert reason_of(pool.contributions.withdrawals.withdraw, signed(pool, name, place.a.key)) == "KEY_REVOKED"
    assert pool.contributions.get(name).state == "ACTIVE"
    assert pool.heads.latest() != head
    assert pool.contributions.withdraw_as_operator(name, "court order").erased
    assert fsck(place.folder) == []


def _b64(raw):
    return base64.b64encode(raw)


def test_a_suspended_site_can_still_withdraw(place, done):
    place.pool.sites.suspend("site-a")
    assert place.withdrawals.withdraw(signed(place.pool, done.contribution_id, place.a.key)).erased
    assert fsck(place.folder) == []


@pytest.mark.parametrize("state", ["QUARANTINED", "REJECTED"])
def test_a_contribution_that_never_served_can_be_withdrawn(place, state):
    place.reopen(automatic=False)
    name = place.contribute().contribution_id
    if state == "REJECTED":
        place.pool.contributions.decide(name, "REJECTED", "")
    assert place.withdrawals.withdraw(signed(place.pool, name, place.a.key)).erased
    assert reason_of(place.pool.contributions.decide, name, "ACTIVE", "") == "STATE_TRANSITION"
    assert fsck(place.folder) == []


def test_what_was_withdrawn_does_not_come_back_under_any_name(place):
    packed = place.pack()
    done = c.submit(place.pool, packed)
    place.withdrawals.withdraw(signed(place.pool, done.contribution_id, place.a.key))
    for site in (place.a, place.b):
        again = site.pack(place.pool, packed.weights)
        upload_id = c.upload(place.pool, again)
        assert reason_of(place.intake.commit, upload_id, c.NOW) == "DUPLICATE_WEIGHTS"
    assert place.intake.commit(done.contribution_id, c.NOW).state == "WITHDRAWN", "its receipt stays what it was"
    assert place.intake.commit(done.contribution_id, c.NOW).receipt == done.receipt
    place.contribute()
    assert fsck(place.folder) == []


def test_descendants_are_listed_and_none_is_released_after_the_withdrawal(place, done):
    other = place.contribute(place.b)
    both = tuple(sorted((done.contribution_id, other.contribution_id)))
    first, second = Descended("1" * 64, c.BLUEPRINT, "2,2", both), Descended("2" * 64, c.BLUEPRINT, "2,2", both[:1])
    for made in (first, second, first):
        place.pool.contributions.descendants.release(made)
    assert place.pool.contributions.descendants.find("1" * 64) == first
    assert list(place.pool.contributions.descendants.of(both[0])) == [first, second]
    answer = place.withdrawals.withdraw(signed(place.pool, done.contribution_id, place.a.key))
    assert answer.descendants == (2 if done.contribution_id == both[0] else 1)
    assert first in list(place.pool.contributions.descendants.of(done.contribution_id))
    late = Descended("3" * 64, c.BLUEPRINT, "2,2", both)
    assert reason_of(place.pool.contributions.descendants.release, late) == "CONTRIBUTION_NOT_ACTIVE"
    assert place.pool.contributions.descendants.find("3" * 64) is None
    place.pool.contributions.descendants.release(Descended("4" * 64, c.BLUEPRINT, "2,2", (other.contribution_id,)))
    place.pool.contributions.descendants.release(Descended("5" * 64, c.BLUEPRINT, "2,2", ()))


def test_a_process_that_ends_before_it_erased_does_so_when_it_comes_back(place, done, monkeypatch):
    path = place.pool.contributions.get(done.contribution_id).path
    with monkeypatch.context() as patch:
        patch.setattr(
            withdrawal.Withdrawals, "_erase", lambda *_: (_ for _ in ()).throw(StorageError("DISK_FAILED", "no"))
        )
        assert (
            reason_of(place.withdrawals.withdraw, signed(place.pool, done.contribution_id, place.a.key))
            == "DISK_FAILED"
        )
        assert c.active(place.pool) == [], "selection stops at once, whatever the disk says"
        report = examine(place.folder)
        assert (report.problems, len(report.notes)) == ([], 1)
    assert path.is_file()
    place.reopen()
    assert not path.exists()
    assert examine(place.folder).notes == []


def test_the_bytes_of_an_erased_blob_are_overwritten_also_for_who_has_it_open(place, done):
    path = place.pool.contributions.get(done.contribution_id).path
    linked = place.folder / "link"
    os.link(path, linked)
    with path.open("rb") as held:
        size = path.stat().st_size
        place.withdrawals.withdraw(signed(place.pool, done.contribution_id, place.a.key))
        assert held.read() == bytes(size)
    assert linked.read_bytes() == bytes(size)
    assert not path.exists()


def test_the_log_still_verifies_after_the_erasure(place, done):
    before = place.pool.heads.latest()
    place.withdrawals.withdraw(signed(place.pool, done.contribution_id, place.a.key))
    bundle = envelope.parse(done.receipt)
    assert receipt.verify(bundle, envelope.verify(bundle, place.a.key.public), place.pool.log.keys)
    old, new = (int(note.split("\n")[1]) for note in (before, place.pool.heads.latest()))
    assert (new - old, bool(place.pool.log.consistency(old, new))) == (2, True)
    assert fsck(place.folder) == []


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM withdrawal",
        "UPDATE withdrawal SET erased = NULL",
        "UPDATE withdrawal SET log_index = 2",
        "UPDATE withdrawal SET receipt = (SELECT receipt FROM contribution)",
        "UPDATE contribution SET state = 'ACTIVE'",
    ],
)
def test_fsck_finds_a_withdrawal_that_is_undone_in_the_ledger(place, done, statement):
    place.withdrawals.withdraw(signed(place.pool, done.contribution_id, place.a.key))
    place.pool.close()
    connection = sqlite3.connect(place.folder / "ledger.sqlite")
    connection.execute(statement)
    connection.commit()
    connection.close()
    assert fsck(place.folder)


def test_fsck_finds_a_blob_that_the_log_says_is_erased(place, done):
    path = place.pool.contributions.get(done.contribution_id).path
    raw = path.read_bytes()
    place.withdrawals.withdraw(signed(place.pool, done.contribution_id, place.a.key))
    path.write_bytes(raw)
    assert [problem.reason for problem in fsck(place.folder)] == ["BLOB_CORRUPT"]
