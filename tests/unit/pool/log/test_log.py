"""The log: what it answers can be checked by whoever holds its key."""

import pytest

from genepool_protocol.trust import checkpoint, envelope, merkle, receipt
from genepool_protocol.wire.limits import LIMITS
from genepool_server.pool.log import log as logs
from genepool_server.pool.log.published_head import HeadStore
from tests.support import sites as c
from tests.support.leaves import payload_sha256
from tests.support.refusals import reason_of


@pytest.fixture
def heads(place):
    """The pool's checkpoints after each of five contributions."""
    found = []
    for site in (place.a, place.b, place.a, place.a, place.b):
        place.contribute(site)
        found.append(checkpoint.verify(place.pool.heads.latest(), place.pool.log.keys))
    return found


def test_entries_give_the_root_of_the_checkpoint(place, heads):
    leaves = place.pool.log.entries(0, 100)
    assert merkle.Tree(map(merkle.leaf_hash, leaves)).root() == heads[-1].root
    for found in place.pool.contributions.all():
        assert payload_sha256(leaves[found.log_index]) == found.contribution_id


def test_every_size_extends_every_smaller_one(place, heads):
    for old in heads:
        for new in heads[old.size - 1 :]:
            proof = place.pool.log.consistency(old.size, new.size)
            merkle.verify_consistency(old.size, new.size, old.root, new.root, proof)


def test_receipts_of_every_age_hold_under_the_same_key(place, heads):
    keys = {"site-a": place.a.key.public, "site-b": place.b.key.public}
    for found in place.pool.contributions.all():
        bundle = envelope.parse(found.receipt)
        logged = receipt.verify(bundle, envelope.verify(bundle, keys[found.site]), place.pool.log.keys)
        assert (logged.index, logged.checkpoint.size) == (found.log_index, found.log_index + 1)


def test_a_restart_changes_nothing(place, heads):
    before = place.pool.heads.latest(), place.pool.log.entries(0, 99), place.pool.log.consistency(2, 14)
    place.reopen()
    assert (place.pool.heads.latest(), place.pool.log.entries(0, 99), place.pool.log.consistency(2, 14)) == before


def test_ranges_outside_the_log_are_refused(place, heads):
    pool = place.pool
    assert pool.log.entries(14, 1) == []
    assert len(pool.log.entries(12, 100)) == 2
    for start, count in ((-1, 1), (15, 1), (0, 0), (0, -1)):
        assert reason_of(pool.log.entries, start, count) == "LOG_RANGE"
    for old, new in ((-1, 2), (3, 2), (2, 15)):
        assert reason_of(pool.log.consistency, old, new) == "LOG_RANGE"
    assert pool.log.consistency(0, 14) == pool.log.consistency(14, 14) == []


def test_one_answer_holds_a_bounded_number_of_entries(place, heads, monkeypatch):
    monkeypatch.setattr(logs, "LIMITS", type(LIMITS)(log_entries=2))
    assert place.pool.log.entries(1, 4) == place.pool.log.entries(1, 2)


def test_what_the_lock_store_does_not_know_is_not_shown(place, monkeypatch):
    place.contribute()
    before = place.pool.heads.latest()
    upload_id = c.upload(place.pool, place.pack())
    with monkeypatch.context() as patch:
        patch.setattr(HeadStore, "advance", lambda *_: (_ for _ in ()).throw(c_full()))
        assert reason_of(place.intake.commit, upload_id, c.NOW) == "DISK_FULL"
        assert place.pool.heads.latest() == before
        assert (len(place.pool.log.entries(0, 9)), len(place.pool.contributions.all())) == (6, 1)
        assert reason_of(place.pool.contributions.get, upload_id) == "CONTRIBUTION_UNKNOWN"
    done = place.intake.commit(upload_id, c.NOW)
    assert (len(place.pool.log.entries(0, 9)), len(place.pool.contributions.all())) == (8, 2)
    assert place.pool.contributions.get(upload_id).receipt == done.receipt


def c_full():
    from genepool_protocol.wire.errors import StorageError

    return StorageError("DISK_FULL", "no room")
