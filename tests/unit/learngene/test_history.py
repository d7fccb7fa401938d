"""Replaying a log: an honest one passes, and a pool that logged what it may not is found out."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genepool_protocol.learngene.history import History
from genepool_protocol.trust import events, strict_json
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.trust.terms import KeySpan, StatementKeys
from genepool_protocol.wire.errors import GenepoolError, InvalidInput
from tests.support import events as e

POOL, BOSS, NORTH, SOUTH, STRANGER = (SigningKey.generate() for _ in range(5))
HONEST = [
    (POOL, e.site("north", "enrolled", NORTH)),
    (BOSS, e.site("north", "approved", NORTH)),
    (POOL, e.site("south", "enrolled", SOUTH)),
    (BOSS, e.site("south", "approved", SOUTH)),
    (NORTH, e.contribution(b"one")),
    (POOL, e.decision(b"one")),
    (SOUTH, e.contribution(b"two")),
    (POOL, e.decision(b"two", passed=False)),
    (NORTH, e.withdrawal(b"one")),
    (POOL, e.erasure(b"one")),
    (BOSS, e.site("south", "suspended", SOUTH)),
    (SOUTH, e.withdrawal(b"two")),
    (BOSS, e.site("south", "revoked", SOUTH)),
]


_AGAIN = (3, 10)  # a site can be suspended, approved again and suspended again


def replay(*entries):
    """The history and everything that is wrong with it."""
    history, found = History(e.ORIGIN, StatementKeys.of(POOL.public), StatementKeys.of(BOSS.public)), []
    for key, payload in entries:
        found += history.take(*e.leaf(key, payload))
    return history, found


def test_an_honest_log_passes():
    history, found = replay(*HONEST)
    assert found == []
    assert (history.size, {name: one.state for name, one in history.sites.items()}) == (
        13,
        {"north": "ACTIVE", "south": "REVOKED"},
    )
    one, two = (history.contributions[e.ids(weights)["contribution_id"]] for weights in (b"one", b"two"))
    assert (one.site, one.index, one.state, one.withdrawn, one.erased) == ("north", 4, "WITHDRAWN", 8, 9)
    assert (two.site, two.state, two.erased) == ("south", "WITHDRAWN", None)
    assert history.kinds["accepted"] == 2


@pytest.mark.parametrize(
    ("after", "key", "payload"),
    [
        pytest.param(4, POOL, e.decision(b"one"), id="admission without acceptance"),
        pytest.param(6, POOL, e.decision(b"one"), id="admitted twice"),
        pytest.param(6, POOL, e.decision(b"one", passed=False), id="rejected after it was admitted"),
        pytest.param(10, POOL, e.decision(b"one"), id="admitted after it was withdrawn"),
        pytest.param(5, NORTH, e.decision(b"one"), id="a site signs a decision"),
        pytest.param(6, SOUTH, e.withdrawal(b"one"), id="withdrawn by another site"),
        pytest.param(6, STRANGER, e.withdrawal(b"one"), id="withdrawn by a stranger"),
        pytest.param(9, NORTH, e.withdrawal(b"one"), id="withdrawn twice"),
        pytest.param(13, SOUTH, e.withdrawal(b"two"), id="withdrawn by a revoked site"),
        pytest.param(6, NORTH, e.withdrawal(b"one", sha256="0" * 64), id="withdrawal of other weights"),
        pytest.param(6, NORTH, e.withdrawal(b"one", pool="other/log"), id="withdrawal from another pool"),
        pytest.param(6, POOL, e.erasure(b"one"), id="erased before it was withdrawn"),
        pytest.param(10, POOL, e.erasure(b"one"), id="erased twice"),
        pytest.param(9, NORTH, e.erasure(b"one"), id="a site says that it was erased"),
        pytest.param(4, STRANGER, e.contribution(b"new"), id="contributed by a stranger"),
        pytest.param(3, SOUTH, e.contribution(b"new"), id="contributed before approval"),
        pytest.param(11, SOUTH, e.contribution(b"new"), id="contributed while suspended"),
        pytest.param(13, SOUTH, e.contribution(b"new"), id="contributed after revocation"),
        pytest.param(4, POOL, e.contribution(b"new"), id="contributed by the pool itself"),
        pytest.param(5, SOUTH, e.contribution(b"one", b"again"), id="the same weights under another site"),
        pytest.param(10, NORTH, e.contribution(b"one", b"again"), id="re-submission after withdrawal"),
        pytest.param(5, NORTH, e.contribution(b"one"), id="the same contribution twice"),
        pytest.param(1, NORTH, e.site("north", "approved", NORTH), id="a site approves itself"),
        pytest.param(1, POOL, e.site("north", "approved", NORTH), id="the release key approves a site"),
        pytest.param(5, POOL, e.decision(b"one", policy="operator"), id="the release key decides as the operator"),
        pytest.param(5, BOSS, e.decision(b"one"), id="the operator's key decides as the pool"),
        pytest.param(6, POOL, e.withdrawal(b"one"), id="the release key withdraws"),
        pytest.param(1, BOSS, e.site("north", "approved", STRANGER), id="approved with another key"),
        pytest.param(1, POOL, e.site("north", "enrolled", STRANGER), id="enrolled twice"),
        pytest.param(1, POOL, e.site("west", "enrolled", NORTH), id="a key of two sites"),
        pytest.param(1, BOSS, e.site("north", "suspended", NORTH), id="suspended before approval"),
        pytest.param(13, BOSS, e.site("south", "approved", SOUTH), id="approved after revocation"),
    ],
)
def test_a_log_that_holds_what_may_not_be_is_found_out(after, key, payload):
    before, _ = replay(*HONEST[:after])
    history, found = replay(*HONEST[:after], (key, payload))
    assert [(one.index, one.reason) for one in found] == [(after, "LOG_INVALID")]
    assert (history.sites, history.contributions) == (before.sites, before.contributions), "it changes nothing"


def test_after_a_key_was_replaced_the_index_says_whose_word_counts():
    fresh = SigningKey.generate()
    keys = StatementKeys((KeySpan(POOL.public, 0, 5), KeySpan(fresh.public, 5)))

    def replayed(decider):
        history = History(e.ORIGIN, keys, StatementKeys.of(BOSS.public))
        entries = [*HONEST[:5], (decider, e.decision(b"one"))]
        return [one.message for key, payload in entries for one in history.take(*e.leaf(key, payload))]

    assert replayed(fresh) == []
    assert replayed(POOL) == ["admitted: only the pool's release key of that time may sign it"]


def test_a_leaf_of_another_statement_and_a_forged_signature_are_found_out():
    history = History(e.ORIGIN, StatementKeys.of(POOL.public), StatementKeys.of(BOSS.public))
    body, payload = e.leaf(POOL, HONEST[0][1])
    assert [one.reason for one in history.take(body, HONEST[1][1])] == ["SIGNATURE_INVALID"]
    value = json.loads(body)
    other = json.loads(e.leaf(STRANGER, payload)[0])["spec"]["dsseV002"]["signatures"]
    value["spec"]["dsseV002"]["signatures"][0]["content"] = other[0]["content"]
    assert [one.reason for one in history.take(strict_json.canonical(value), payload)] == ["SIGNATURE_INVALID"]
    assert [one.reason for one in history.take(body[:-1], payload)] == ["JSON_MALFORMED"]
    value["kind"] = "other"
    value["spec"]["dsseV002"]["signatures"] = json.loads(body)["spec"]["dsseV002"]["signatures"]
    assert [one.reason for one in history.take(strict_json.canonical(value), payload)] == ["PROOF_INVALID"]


@pytest.mark.parametrize("payload", [payload for _, payload in HONEST if events.parse(payload) is not None])
def test_an_event_is_read_only_in_the_one_way_in_which_it_is_written(payload):
    event = events.parse(payload)
    assert event.payload() == payload
    value = json.loads(payload)
    for change in (
        lambda: value.update(extra=1),
        lambda: value.pop("extra") and value["predicate"].update(extra="x"),
        lambda: value["predicate"].pop("extra") and value["subject"].append(value["subject"][0]),
        lambda: value["subject"].pop() and value["subject"][0].update(name="other"),
        lambda: value.update(subject=[]),
        lambda: value.update(predicate=[]),
    ):
        change()
        with pytest.raises(GenepoolError) as caught:
            events.parse(strict_json.canonical(value))
        assert caught.value.reason == "STATEMENT_MALFORMED"
    with pytest.raises(GenepoolError):
        events.parse(payload + b" ")


@settings(max_examples=60, deadline=None)
@given(order=st.lists(st.sampled_from(range(len(HONEST))), max_size=25))
def test_whatever_order_leaves_come_in_a_contribution_is_active_only_after_acceptance_and_admission(order):
    history, seen = History(e.ORIGIN, StatementKeys.of(POOL.public), StatementKeys.of(BOSS.public)), []
    for number in order:
        if not history.take(*e.leaf(*HONEST[number])):
            seen.append(number)
        states = {one.state for one in history.contributions.values()}
        assert "ACTIVE" not in states or seen.index(0) < seen.index(1) < seen.index(4) < seen.index(5)
        once = [number for number in seen if number not in _AGAIN]
        assert len(once) == len(set(once)), "nothing happens twice"


def test_a_decision_says_whether_screens_and_canary_stand_behind_it():
    for screened in (True, False):
        payload = e.decision(b"one", screened=screened)
        assert (b"LEARNGENE_CANARY" in payload) == screened
        assert events.parse(payload) == events.Decision(**_members(payload), screened=screened)
    swapped = e.decision(b"one", screened=True).replace(
        b'["LEARNGENE_INGEST","LEARNGENE_CANARY"]', b'["LEARNGENE_CANARY","LEARNGENE_INGEST"]'
    )
    with pytest.raises(InvalidInput) as caught:
        events.parse(swapped)
    assert caught.value.reason == "STATEMENT_MALFORMED"


def _members(payload):
    found = events.parse(payload)
    return {name: getattr(found, name) for name in ("pool", "time", "contribution_id", "sha256", "passed", "policy")}
