"""Sites: invitations, enrolment, and the operator's word."""

import pytest

from genepool_protocol.trust.anchors import enrolment_mac
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.wire.errors import GenepoolError
from genepool_server.pool import sites, sqlite
from tests.support import sites as c


def reason_of(call, *args):
    with pytest.raises(GenepoolError) as caught:
        call(*args)
    return caught.value.reason


@pytest.fixture
def pool(place):
    return place.pool


@pytest.fixture
def key():
    return SigningKey.generate().public


def test_a_site_goes_from_invited_to_active(pool, key):
    invite_id, secret = pool.invite("site-c", c.NOW)
    assert (pool.site("site-c").state, pool.site("site-c").keyid) == ("INVITED", "")
    found = pool.enrol("site-c", invite_id, key.pem, enrolment_mac(secret, key))
    assert (found.state, found.keyid, found.key_pem) == ("PENDING", key.keyid, key.pem)
    assert pool.approve("site-c") == pool.site("site-c")
    assert pool.site("site-c").state == "ACTIVE"
    assert [site.name for site in pool.sites()] == ["site-a", "site-b", "site-c"]


@pytest.mark.parametrize("name", ["", "A", "a b", "../a", ".a", "a-", "x" * 64, "a/b", "a\n", "\u00e9"])
def test_a_name_that_is_none_is_refused(pool, name):
    assert reason_of(pool.invite, name, c.NOW) == "NAME_INVALID"
    assert len(pool.sites()) == 2


def test_enrolling_again_with_the_same_key_gives_the_same_answer(pool, key):
    invite_id, secret = pool.invite("site-c", c.NOW)
    call = ("site-c", invite_id, key.pem, enrolment_mac(secret, key))
    assert pool.enrol(*call) == pool.enrol(*call)
    pool.approve("site-c")
    assert pool.enrol(*call).state == "ACTIVE"


def test_an_invitation_is_used_once(pool, key):
    invite_id, secret = pool.invite("site-c", c.NOW)
    pool.enrol("site-c", invite_id, key.pem, enrolment_mac(secret, key))
    other = SigningKey.generate().public
    assert reason_of(pool.enrol, "site-c", invite_id, other.pem, enrolment_mac(secret, other)) == "INVITE_USED"
    assert pool.site("site-c").keyid == key.keyid


def test_what_does_not_show_the_invitation_is_refused(pool, key):
    invite_id, secret = pool.invite("site-c", c.NOW)
    mac = enrolment_mac(secret, key)
    other = SigningKey.generate().public
    for call in [
        ("site-c", invite_id, key.pem, b""),
        ("site-c", invite_id, key.pem, mac[:-1] + bytes([mac[-1] ^ 1])),
        ("site-c", invite_id, other.pem, mac),
        ("site-c", "0" * 32, key.pem, mac),
        ("site-c", "\u00e9", key.pem, mac),
        ("site-a", invite_id, key.pem, mac),
        ("nobody", invite_id, key.pem, mac),
    ]:
        assert reason_of(pool.enrol, *call) == "INVITE_INVALID"
    assert pool.site("site-c").state == "INVITED"
    pool.enrol("site-c", invite_id, key.pem, mac)
    assert reason_of(pool.enrol, "site-c", invite_id, key.pem, b"x" * 32) == "INVITE_INVALID"


@pytest.mark.parametrize("pem", ["", "no key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_a_key_that_is_none_is_refused(pool, pem):
    invite_id, _ = pool.invite("site-c", c.NOW)
    assert reason_of(pool.enrol, "site-c", invite_id, pem, b"x" * 32) == "KEY_MALFORMED"


def test_two_sites_cannot_have_one_key(pool, place):
    invite_id, secret = pool.invite("site-c", c.NOW)
    taken = place.a.key.public
    assert reason_of(pool.enrol, "site-c", invite_id, taken.pem, enrolment_mac(secret, taken)) == "KEY_IN_USE"
    assert pool.site("site-c").state == "INVITED"


def test_inviting_again_voids_the_first_invitation(pool, key):
    first_id, first = pool.invite("site-c", c.NOW)
    second_id, second = pool.invite("site-c", c.NOW)
    assert reason_of(pool.enrol, "site-c", first_id, key.pem, enrolment_mac(first, key)) == "INVITE_INVALID"
    assert pool.enrol("site-c", second_id, key.pem, enrolment_mac(second, key)).state == "PENDING"
    assert reason_of(pool.invite, "site-c", c.NOW) == "SITE_EXISTS"


def test_the_secret_is_gone_once_it_was_used(place, key):
    invite_id, secret = place.pool.invite("site-c", c.NOW)
    place.pool.enrol("site-c", invite_id, key.pem, enrolment_mac(secret, key))
    place.pool.close()
    for path in place.folder.glob("ledger.sqlite*"):
        assert secret.encode() not in path.read_bytes()


def test_an_invitation_survives_a_restart(place, key):
    invite_id, secret = place.pool.invite("site-c", c.NOW)
    pool = place.reopen()
    assert pool.enrol("site-c", invite_id, key.pem, enrolment_mac(secret, key)).state == "PENDING"


def test_a_site_revoked_before_it_enrolled_cannot_enrol(pool, key):
    invite_id, secret = pool.invite("site-c", c.NOW)
    pool.revoke("site-c")
    assert reason_of(pool.enrol, "site-c", invite_id, key.pem, enrolment_mac(secret, key)) == "INVITE_INVALID"
    assert reason_of(pool.invite, "site-c", c.NOW) == "SITE_EXISTS"


STATES = ("INVITED", "PENDING", "ACTIVE", "SUSPENDED", "REVOKED")


@pytest.mark.parametrize("start", STATES)
@pytest.mark.parametrize("verb", ["approve", "suspend", "revoke"])
def test_the_operator_moves_a_site_along_the_table_and_nowhere_else(place, start, verb):
    place.pool.close()
    engine = sqlite.writer(place.folder / "ledger.sqlite")
    with engine.begin() as tx:
        tx.exec_driver_sql("UPDATE site SET state = ? WHERE name = 'site-a'", (start,))
    engine.dispose()
    pool = place.reopen()
    end = {"approve": "ACTIVE", "suspend": "SUSPENDED", "revoke": "REVOKED"}[verb]
    if (start, end) in sites.MOVES:
        assert getattr(pool, verb)("site-a").state == end
    else:
        assert reason_of(getattr(pool, verb), "site-a") == "STATE_TRANSITION"
        assert pool.site("site-a").state == start


def test_a_site_that_is_not_there_is_named(pool):
    for call in (pool.site, pool.approve, pool.suspend, pool.revoke):
        assert reason_of(call, "nobody") == "SITE_UNKNOWN"
    assert reason_of(pool.begin_nonce, "nobody", c.NOW) == "SITE_UNKNOWN"
