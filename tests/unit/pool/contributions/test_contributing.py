"""From an upload to a contribution: receipts, states, duplicates, and doing it twice."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from genepool_protocol.learngene import tensors
from genepool_protocol.trust import digest, envelope, receipt
from genepool_server.pool.contributions import decisions
from genepool_server.pool.upkeep.fsck import fsck
from tests.support import sites as c
from tests.support.refusals import reason_of


def verified(place, site, done):
    """The receipt after a client's checks."""
    bundle = envelope.parse(done.receipt)
    return receipt.verify(bundle, envelope.verify(bundle, site.key.public), place.pool.log.keys)


def test_a_contribution_is_stored_logged_and_proved(place):
    packed = place.pack()
    done = c.submit(place.pool, packed)
    assert verified(place, place.a, done).index == 4
    found = place.pool.contributions.get(done.contribution_id)
    assert found.path.read_bytes() == packed.weights
    assert (found.site, found.state, found.note) == ("site-a", "ACTIVE", decisions.PASSED)
    assert (found.manifest, found.receipt) == (packed.manifest, done.receipt)
    assert (found.size_bytes, found.sha256) == (len(packed.weights), digest.sha256_hex(packed.weights))
    assert found.site_key_pem == place.a.key.public.pem
    assert found.log_index == 4
    assert list((place.folder / "spool").iterdir()) == []
    assert fsck(place.folder) == []


def test_the_next_one_continues_the_chain(place):
    first = place.contribute()
    nonce = place.intake.begin_nonce("site-a", c.NOW)
    assert (nonce.last_seq, nonce.last_payload_sha256) == (1, first.contribution_id)
    assert nonce.checkpoint == place.pool.heads.latest()
    assert (nonce.expires, len(nonce.nonce)) == ("2026-07-02T12:00:00Z", 43)
    second = place.contribute()
    assert verified(place, place.a, second).checkpoint.size == 7
    assert [one.log_index for one in place.pool.contributions.all()] == [4, 6]


def test_committing_again_gives_the_same_receipt_and_no_leaf(place):
    packed = place.pack()
    done = c.submit(place.pool, packed)
    place.contribute(place.b)
    assert place.intake.commit(done.contribution_id, c.NOW) == done
    assert place.reopen().contributions.intake.commit(done.contribution_id, c.NOW) == done
    again = place.intake.begin(packed.bundle, packed.manifest, c.NOW)
    assert (again.upload_id, again.already_logged) == (done.contribution_id, True)
    assert place.intake.status(done.contribution_id) == (len(packed.weights), True)
    assert len(place.pool.log.entries(0, 10)) == 8


def test_the_other_valid_signature_is_the_same_contribution(place):
    packed = place.pack()
    done = c.submit(place.pool, packed)
    other = c.malleated(packed)
    assert other.bundle != packed.bundle
    begun = place.intake.begin(other.bundle, other.manifest, c.NOW)
    assert (begun.upload_id, begun.already_logged) == (done.contribution_id, True)
    assert place.intake.commit(begun.upload_id, c.NOW) == done


def test_two_commits_at_once_are_one_contribution(place):
    upload_id = c.upload(place.pool, place.pack())
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: place.intake.commit(upload_id, c.NOW), range(4)))
    assert len(set(answers)) == 1
    assert len(place.pool.contributions.all()) == 1
    assert fsck(place.folder) == []


def test_two_uploads_with_one_number_become_one_contribution(place):
    one, two = c.upload(place.pool, place.pack()), c.upload(place.pool, place.pack())
    place.intake.commit(one, c.NOW)
    assert reason_of(place.intake.commit, two, c.NOW) == "SEQ_CONFLICT"
    assert fsck(place.folder) == []


def test_many_threads_of_two_sites_make_one_log(place):
    def play(site):
        return [place.contribute(site) for _ in range(4)]

    with ThreadPoolExecutor(2) as threads:
        done = [one for part in threads.map(play, (place.a, place.b)) for one in part]
    assert {one.contribution_id for one in done} == {one.contribution_id for one in place.pool.contributions.all()}
    assert fsck(place.folder) == []


@pytest.mark.parametrize("reorder", [False, True], ids=["same-file", "other-header"])
def test_another_site_cannot_contribute_the_same_weights(place, reorder):
    weights = place.weights()
    first = place.a.pack(place.pool, weights)
    c.submit(place.pool, first)
    if reorder:
        weights = weights.replace(b'{"__metadata__":{"format":"pt"},', b"{" + b" " * 31)
        tensors.parse_header(weights, len(weights))
    copied = place.b.pack(place.pool, weights)
    upload_id = c.upload(place.pool, copied)
    assert reason_of(place.intake.commit, upload_id, c.NOW) == "DUPLICATE_WEIGHTS"
    assert reason_of(place.intake.status, upload_id) == "UPLOAD_UNKNOWN"
    assert place.pool.contributions.all()[0].path.read_bytes() == first.weights
    assert fsck(place.folder) == []


def test_a_site_does_not_learn_which_weights_the_pool_holds_without_having_them(place):
    weights = place.weights()
    c.submit(place.pool, place.a.pack(place.pool, weights))
    copied = place.b.pack(place.pool, weights)
    begun = place.intake.begin(copied.bundle, copied.manifest, c.NOW)
    assert (begun.committed_size, begun.already_logged) == (0, False)
    assert reason_of(place.intake.commit, begun.upload_id, c.NOW) == "UPLOAD_INCOMPLETE"
    assert place.reopen().contributions.intake.status(begun.upload_id) == (0, False)


def test_a_site_suspended_during_its_upload_cannot_commit(place):
    upload_id = c.upload(place.pool, place.pack())
    place.pool.sites.suspend("site-a")
    assert reason_of(place.intake.commit, upload_id, c.NOW) == "SITE_NOT_ACTIVE"
    assert reason_of(place.intake.begin_nonce, "site-a", c.NOW) == "SITE_NOT_ACTIVE"
    place.pool.sites.approve("site-a")
    assert place.intake.commit(upload_id, c.NOW).state == "ACTIVE"


def test_what_a_revoked_site_contributed_before_stays(place):
    done = place.contribute()
    packed = place.pack()
    place.pool.sites.revoke("site-a")
    assert reason_of(place.intake.begin, packed.bundle, packed.manifest, c.NOW) == "KEY_REVOKED"
    assert reason_of(place.intake.begin_nonce, "site-a", c.NOW) == "KEY_REVOKED"
    assert place.intake.commit(done.contribution_id, c.NOW) == done


def test_a_pool_may_wait_for_its_operator(place):
    pool = place.reopen(automatic=False)
    first, second = place.contribute(), place.contribute(place.b)
    assert (first.state, c.active(pool)) == ("QUARANTINED", [])
    assert pool.contributions.decide(first.contribution_id, "ACTIVE", "looked at").note == "looked at"
    assert pool.contributions.decide(second.contribution_id, "REJECTED", "odd").state == "REJECTED"
    assert [one.contribution_id for one in c.active(pool)] == [first.contribution_id]
    assert pool.contributions.intake.commit(first.contribution_id, c.NOW).state == "ACTIVE"
    assert place.reopen().contributions.get(second.contribution_id).state == "REJECTED"


def test_a_decision_is_made_once(place):
    place.reopen(automatic=False)
    ids = {}
    for state in ("ACTIVE", "REJECTED"):
        ids[state] = place.contribute().contribution_id
        place.pool.contributions.decide(ids[state], state, "")
    for contribution_id in ids.values():
        for state in ("ACTIVE", "REJECTED"):
            assert reason_of(place.pool.contributions.decide, contribution_id, state, "") == "STATE_TRANSITION"
    assert reason_of(place.pool.contributions.decide, "0" * 64, "ACTIVE", "") == "CONTRIBUTION_UNKNOWN"
    assert reason_of(place.pool.contributions.get, "0" * 64) == "CONTRIBUTION_UNKNOWN"


def test_active_contributions_come_by_id_and_by_licence(place):
    licenses = ["CC-BY-4.0", "CC0-1.0", "CC-BY-4.0"]
    done = [c.submit(place.pool, place.pack(license=one)) for one in licenses]
    pool = place.pool
    assert [one.contribution_id for one in c.active(pool)] == sorted(d.contribution_id for d in done)
    assert [one.contribution_id for one in c.active(pool, ("CC0-1.0",))] == [done[1].contribution_id]
    assert c.active(pool, ("MIT",)) == []
    assert reason_of(pool.blueprint, "other") == "BLUEPRINT_UNKNOWN"
