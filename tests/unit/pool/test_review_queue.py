"""Quarantine: what a review leads to, and that a pool takes up again what it was reviewing when it ended."""

import numpy as np
import pytest

from genepool_protocol.learngene.history import History
from genepool_protocol.trust import events
from genepool_protocol.wire.errors import GenepoolError, InvalidInput
from genepool_server.admission.screening import ActiveMember, Reviewer
from genepool_server.admission.screens import REJECTS, Finding
from genepool_server.pool.review_queue import ReviewPolicy, Reviews
from genepool_server.pool.store.folder import PoolFolder
from genepool_server.pool.upkeep.fsck import fsck
from tests.support import sites as c
from tests.support import spoilers as s

REJECTED, HELD = Finding("NEAR_COPY", "a copy"), Finding("DIRECTION", "nothing in common")


def screen(loaded, found, company):
    """The screens in this process, without the canary."""
    members = [
        ActiveMember(one.contribution_id, one.sha256, one.path, one.site == found.site, one.site, one.log_index)
        for one in company.active
    ]
    reviewer = Reviewer(loaded.blueprint, loaded.seed_path, company.salt)
    return reviewer.review(found.path, members, company.withdrawn, canary=False)


def reviews(place, **policy):
    return Reviews(place.pool, ReviewPolicy(**policy), screen)


@pytest.fixture
def quarantine(place):
    """A pool that activates nothing by itself."""
    place.reopen(automatic=False)
    return place


def honest(place, number):
    loaded = place.pool.blueprint(c.BLUEPRINT)
    seed = s.seed_of(loaded.blueprint, loaded.seed_path)
    return loaded.blueprint, s.honest(loaded.blueprint, seed, number)


def commit(place, site, delta_of, number):
    blueprint, delta = honest(place, number)
    packed = site.pack(place.pool, s.file(blueprint, delta_of(blueprint, delta)))
    return c.submit(place.pool, packed).contribution_id


def as_it_is(_, delta):
    return delta


def state(place, contribution_id):
    return place.pool.contributions.get(contribution_id).state


def decisions(place):
    """(id, passed, screened, policy) of each decision in the log, which replays without a violation."""
    signers = PoolFolder(place.folder).signers()
    history, found = History(place.pool.origin, signers.release, signers.operator), []
    with place.pool.contributions.ledger.read() as tx:
        from genepool_server.pool.rows import log_rows

        rows = log_rows.raw(tx)
    for row in rows:
        assert history.take(row.body, row.payload) == []
        event = events.parse(row.payload)
        if isinstance(event, events.Decision):
            found.append((event.contribution_id, event.passed, event.screened, event.policy))
    return found


@pytest.mark.parametrize(
    ("policy", "findings", "of_site", "expected"),
    [
        ({}, [], 0, ("ACTIVE", True)),
        ({}, [HELD], 0, ("QUARANTINED", False)),
        ({}, [HELD, REJECTED], 0, ("REJECTED", False)),
        ({"screening": "warn"}, [HELD, REJECTED], 0, ("ACTIVE", False)),
        ({"screening": "warn"}, [], 0, ("ACTIVE", True)),
        ({"screening": "off", "approve_first": 2}, [], 1, ("QUARANTINED", False)),
        ({"screening": "off", "approve_first": 2}, [], 2, ("ACTIVE", False)),
        ({"approve_first": 1}, [], 0, ("QUARANTINED", False)),
        ({"approve_first": 1}, [REJECTED], 0, ("REJECTED", False)),
        ({"automatic": False}, [], 9, ("QUARANTINED", False)),
        ({"automatic": False}, [REJECTED], 9, ("REJECTED", False)),
    ],
)
def test_what_findings_lead_to(policy, findings, of_site, expected):
    verdict = ReviewPolicy(**policy).verdict(findings, of_site)
    assert (verdict.state, verdict.screened) == expected
    assert verdict.note, "an empty note would have it reviewed for ever"
    assert all(str(finding) in verdict.note for finding in findings)


def test_every_finding_has_a_consequence():
    assert {Finding(screen, "").rejects for screen in REJECTS} == {True, False}


def test_nothing_is_selected_before_its_review_has_passed(quarantine):
    found = commit(quarantine, quarantine.a, as_it_is, 1)
    assert (
        state(quarantine, found),
        c.active(quarantine.pool),
    ) == ("QUARANTINED", [])
    assert quarantine.pool.contributions.intake.arrived.is_set()
    reviews(quarantine).review_all()
    assert [one.contribution_id for one in c.active(quarantine.pool)] == [found]
    assert quarantine.pool.contributions.get(found).note == "passed every check, the screens and the canary"
    assert decisions(quarantine) == [(found, True, True, "automatic")]
    assert quarantine.pool.contributions.unreviewed() == []
    assert fsck(quarantine.folder) == []


def test_attack_68_a_disguised_copy_is_rejected_with_its_reason_and_logged(quarantine):
    first = commit(quarantine, quarantine.a, as_it_is, 1)
    copy = commit(quarantine, quarantine.b, s.permuted, 1)
    reviews(quarantine).review_all()
    rejected = quarantine.pool.contributions.get(copy)
    assert (state(quarantine, first), rejected.state) == ("ACTIVE", "REJECTED")
    assert rejected.note.startswith(f"NEAR_COPY: it is too much like contribution {first[:16]}")
    assert decisions(quarantine)[-1] == (copy, False, False, "automatic")
    assert fsck(quarantine.folder) == []
    with pytest.raises(GenepoolError) as caught:
        quarantine.pool.contributions.decide(copy, "ACTIVE", "")
    assert caught.value.reason == "STATE_TRANSITION"


def test_what_is_held_waits_for_the_operator_with_its_reason(quarantine):
    commit(quarantine, quarantine.a, as_it_is, 1)
    held = commit(quarantine, quarantine.b, lambda blueprint, delta: 0 * delta, 2)
    for _ in range(2):  # it is looked at once
        reviews(quarantine).review_all()
    found = quarantine.pool.contributions.get(held)
    assert (found.state, found.note.split(":")[:2]) == ("QUARANTINED", ["waits for the operator", " DIRECTION"])
    assert len(decisions(quarantine)) == 1, "holding decides nothing"
    assert quarantine.pool.contributions.decide(held, "ACTIVE", "").note == found.note, (
        "what the screens said can still be read"
    )
    assert decisions(quarantine)[-1] == (held, True, False, "operator")


def test_the_first_contributions_of_a_site_can_be_left_to_the_operator(quarantine):
    ids = [commit(quarantine, quarantine.a, as_it_is, number) for number in (1, 2)]
    reviews(quarantine, approve_first=1).review_all()
    assert [state(quarantine, one) for one in ids] == ["QUARANTINED", "QUARANTINED"]
    quarantine.pool.contributions.decide(ids[0], "ACTIVE", "")
    third = commit(quarantine, quarantine.a, as_it_is, 3)
    reviews(quarantine, approve_first=1).review_all()
    assert [state(quarantine, one) for one in (*ids, third)] == ["ACTIVE", "QUARANTINED", "ACTIVE"]


def test_what_was_not_reviewed_when_the_pool_ended_is_taken_up_by_the_next_one(quarantine):
    ids = [commit(quarantine, quarantine.a, as_it_is, number) for number in (1, 2, 3)]
    again = Reviews(quarantine.pool, ReviewPolicy(), screen)
    again.review(quarantine.pool.contributions.unreviewed()[0])
    quarantine.reopen(automatic=False)
    assert [one.contribution_id for one in quarantine.pool.contributions.unreviewed()] == ids[1:]
    started = reviews(quarantine)
    started.start()
    late = commit(quarantine, quarantine.b, as_it_is, 4)
    try:
        for _ in range(600):
            if not quarantine.pool.contributions.unreviewed():
                break
            started._ended.wait(0.05)
    finally:
        started.stop()
    assert {state(quarantine, one) for one in (*ids, late)} == {"ACTIVE"}
    assert [one[0] for one in decisions(quarantine)] == [*ids, late], "in the order of the log"


def test_what_is_withdrawn_during_its_review_stays_withdrawn(quarantine):
    found = commit(quarantine, quarantine.a, as_it_is, 1)

    def withdrawn(loaded, subject, company):
        answer = screen(loaded, subject, company)
        quarantine.pool.contributions.withdraw_as_operator(found, "consent ended")
        return answer

    Reviews(quarantine.pool, ReviewPolicy(), withdrawn).review_all()
    assert state(quarantine, found) == "WITHDRAWN"
    assert decisions(quarantine) == []
    assert fsck(quarantine.folder) == []


def test_a_member_withdrawn_during_a_review_only_makes_it_begin_again(quarantine):
    first, second = (commit(quarantine, quarantine.a, as_it_is, number) for number in (1, 2))
    reviews(quarantine).review(quarantine.pool.contributions.get(first))
    seen = []

    def interrupted(loaded, subject, company):
        seen.append([one.contribution_id for one in company.active])
        if len(seen) == 1:
            quarantine.pool.contributions.withdraw_as_operator(first, "")
        return screen(loaded, subject, company)

    Reviews(quarantine.pool, ReviewPolicy(), interrupted).review_all()
    assert (seen, state(quarantine, second)) == ([[first], []], "ACTIVE")


def test_attack_47_a_contribution_that_the_screens_cannot_get_through_is_held(quarantine):
    found = commit(quarantine, quarantine.a, as_it_is, 1)

    def breaks(loaded, subject, company):
        raise InvalidInput("CHECK_LIMIT", "checking the learngene took more memory than is allowed")

    Reviews(quarantine.pool, ReviewPolicy(), breaks).review_all()
    kept = quarantine.pool.contributions.get(found)
    assert kept.state == "QUARANTINED"
    assert "INCOMPLETE: the review could not be ended (CHECK_LIMIT" in kept.note


def test_a_learngene_of_an_older_pool_without_a_note_is_reviewed_too(place):
    random = np.random.default_rng(1)
    place.reopen(automatic=False)
    done = c.contribute(place.pool, place.a, random)
    assert [one.contribution_id for one in place.pool.contributions.unreviewed()] == [done.contribution_id]
