"""Replacing a signing key: only what both keys signed, over exactly these keys, this site and this pool."""

import json

import pytest

from genepool_protocol.trust import envelope, rotation, strict_json
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.wire.errors import GenepoolError

OLD, NEW, THIEF = (SigningKey.generate() for _ in range(3))
POOL, SITE = "pool.test/log", "north"


def reason_of(by_old, by_new, *, pool=POOL, site=SITE):
    with pytest.raises(GenepoolError) as caught:
        rotation.verify(by_old, by_new, OLD.public, pool, site)
    return caught.value.reason


def test_what_both_keys_signed_replaces_one_by_the_other():
    by_old, by_new = rotation.sign(OLD, NEW, POOL, SITE)
    assert rotation.verify(by_old, by_new, OLD.public, POOL, SITE) == rotation.Rotation(OLD.public, NEW.public)
    assert rotation.sign(OLD, NEW, POOL, SITE) == (by_old, by_new)


def test_a_key_that_was_stolen_from_nobody_replaces_nothing():
    by_old, by_new = rotation.sign(OLD, NEW, POOL, SITE)
    payload = envelope.parse(by_old).payload
    assert reason_of(envelope.sign_statement(THIEF, payload), by_new) == "SIGNATURE_INVALID"
    assert reason_of(by_old, envelope.sign_statement(THIEF, payload)) == "SIGNATURE_INVALID"
    assert reason_of(*rotation.sign(THIEF, NEW, POOL, SITE)) == "SIGNATURE_INVALID"


def test_a_statement_for_another_pool_or_site_replaces_nothing():
    both = rotation.sign(OLD, NEW, POOL, SITE)
    assert reason_of(*both, pool="other.test/log") == "STATEMENT_MALFORMED"
    assert reason_of(*both, site="south") == "STATEMENT_MALFORMED"


@pytest.mark.parametrize("member", ["_type", "subject", "predicateType", "predicate"])
def test_a_statement_of_another_form_replaces_nothing(member):
    value = json.loads(envelope.parse(rotation.sign(OLD, NEW, POOL, SITE)[0]).payload)
    if member == "predicate":
        value["predicate"]["more"] = "x"
    else:
        value[member] = "https://model_signing/signature/v1.0"
    payload = strict_json.canonical(value)
    both = (envelope.sign_statement(key, payload) for key in (OLD, NEW))
    assert reason_of(*both) == "STATEMENT_MALFORMED"


def test_two_statements_are_not_one():
    first, second = rotation.sign(OLD, NEW, POOL, SITE), rotation.sign(OLD, NEW, "other.test/log", SITE)
    assert reason_of(first[0], second[1]) == "STATEMENT_MALFORMED"
