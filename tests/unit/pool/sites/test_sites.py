"""Sites: invitations, enrolment, their keys, and the operator's word."""

import atexit
import logging
import shutil
import tempfile
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest

from genepool_protocol.learngene.manifest import parse_manifest
from genepool_protocol.trust import rotation
from genepool_protocol.trust.enrolment import mac, make_csr
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.wire.documents import moment
from genepool_protocol.wire.limits import LIMITS
from genepool_server.pool.sites import membership
from genepool_server.pool.store.sqlite import Sqlite
from genepool_server.pool.upkeep.fsck import fsck
from genepool_server.tls import client_ca
from tests.support import sites as c
from tests.support.refusals import reason_of


@pytest.fixture
def pool(place):
    return place.pool


@pytest.fixture
def site():
    return c.Contributor("site-c")


def arguments(pool, site, invitation, **changes):
    """What `Pool.enrol` is called with."""
    application = replace(site.application(invitation.invite_id), **changes)
    return application, mac(invitation.secret, pool.origin, c.CHANNEL, application), c.CHANNEL, c.NOW


@cache
def issuer():
    keys = Path(tempfile.mkdtemp(prefix="gp-test-"))
    client_ca.create(keys, c.NOW)
    atexit.register(shutil.rmtree, keys)
    return client_ca.Issuer(keys, c.ORIGIN, timedelta(days=90))


def issue(key, name, now):
    return issuer().issue(key, name, now)


def certificate(pool, site, key=None):
    return pool.sites.certificate(site.name, (key or site.tls).public.keyid, issue, c.NOW)[1]


def test_a_site_goes_from_invited_to_active(place, pool, site):
    invitation = pool.sites.invite("site-c", c.NOW)
    assert (pool.sites.get("site-c").state, pool.sites.get("site-c").keyid, pool.sites.get("site-c").fingerprint) == (
        "INVITED",
        "",
        "",
    )
    found = pool.sites.enrol(*arguments(pool, site, invitation))
    assert (found.state, found.keyid, found.key_pem) == ("PENDING", site.key.public.keyid, site.key.public.pem)
    assert (found.tls_keyid, found.roles) == (site.tls.public.keyid, ("consumer", "contributor"))
    assert certificate(pool, site) == ""
    assert pool.sites.approve("site-c", found.fingerprint) == pool.sites.get("site-c")
    assert pool.sites.get("site-c").state == "ACTIVE"
    made = certificate(pool, site)
    assert made == certificate(pool, site) == pool.sites.get("site-c").certificate
    assert fsck(place.folder) == []
    assert [one.name for one in pool.sites.all()] == ["site-a", "site-b", "site-c"]


@pytest.mark.parametrize("name", ["", "A", "a b", "../a", ".a", "a-", "x" * 64, "a/b", "a\n", "\u00e9"])
def test_a_name_that_is_none_is_refused(pool, name):
    assert reason_of(pool.sites.invite, name, c.NOW) == "NAME_INVALID"
    assert len(pool.sites.all()) == 2


def test_a_site_gets_the_roles_that_it_was_invited_as_and_no_others(pool, site):
    pool.sites.invite("site-c", c.NOW, roles=("contributor",))
    c.enrol(pool, site, roles=("auditor", "witness"))
    assert pool.sites.get("site-c").roles == ("auditor", "witness")
    for roles in ((), ("operator",), ("king",)):
        assert reason_of(lambda roles=roles: pool.sites.invite("site-d", c.NOW, roles=roles)) == "OPTION_INVALID"


def test_enrolling_again_with_the_same_keys_gives_the_same_answer(pool, site):
    call = arguments(pool, site, pool.sites.invite("site-c", c.NOW))
    assert pool.sites.enrol(*call) == pool.sites.enrol(*call)
    pool.sites.approve("site-c")
    assert pool.sites.enrol(*call).state == "ACTIVE"


def test_attack_22_an_invitation_is_used_once_whichever_key_is_another_one(pool, site):
    invitation = pool.sites.invite("site-c", c.NOW)
    pool.sites.enrol(*arguments(pool, site, invitation))
    for other in (replace(site, key=SigningKey.generate()), replace(site, tls=SigningKey.generate())):
        assert reason_of(pool.sites.enrol, *arguments(pool, other, invitation)) == "INVITE_USED"
    assert pool.sites.get("site-c").keyid == site.key.public.keyid


def test_forged_and_foreign_invitations_are_refused(pool, site):
    invitation, foreign = pool.sites.invite("site-c", c.NOW), pool.sites.invite("site-d", c.NOW)
    application, proof, channel, now = arguments(pool, site, invitation)
    for call in (
        (application, b"", channel, now),
        (application, proof[:-1], channel, now),
        (application, proof, b"2" * 32, now),  # reached over another CA than the pool's
        arguments(pool, site, foreign),
        arguments(pool, site, replace(invitation, secret="A" * 43)),
        arguments(pool, site, replace(invitation, invite_id="0" * 32)),
        arguments(pool, replace(site, name="nobody"), invitation),
        (application, mac(invitation.secret, "other.pool/log", channel, application), channel, now),
    ):
        assert reason_of(pool.sites.enrol, *call) == "INVITE_INVALID"
    pool.sites.enrol(application, proof, channel, now)
    assert reason_of(pool.sites.enrol, application, b"x" * 32, channel, now) == "INVITE_INVALID"


def test_requests_cannot_be_exchanged_on_the_way(pool, site):
    invitation = pool.sites.invite("site-c", c.NOW)
    application, proof, channel, now = arguments(pool, site, invitation)
    thief = make_csr(SigningKey.generate())
    for changes in ({"tls_csr": thief}, {"signing_csr": thief}):
        assert reason_of(pool.sites.enrol, replace(application, **changes), proof, channel, now) == "INVITE_INVALID"
    swapped = replace(application, tls_csr=application.signing_csr, signing_csr=application.tls_csr)
    assert reason_of(pool.sites.enrol, swapped, proof, channel, now) == "INVITE_INVALID"


def test_attack_23_a_request_of_another_algorithm_or_without_proof_is_refused(pool, site):
    invitation = pool.sites.invite("site-c", c.NOW)
    assert reason_of(pool.sites.enrol, *arguments(pool, site, invitation, tls_csr=b"x")) == "KEY_MALFORMED"
    raw = make_csr(site.tls)
    forged = raw[:-1] + bytes([raw[-1] ^ 1])
    assert reason_of(pool.sites.enrol, *arguments(pool, site, invitation, tls_csr=forged)) == "SIGNATURE_INVALID"


def test_attack_23_a_key_is_registered_once_for_one_purpose_and_one_site(place, site):
    pool = place.pool
    invitation = pool.sites.invite("site-c", c.NOW)
    for taken in (place.a.key, place.a.tls):
        assert reason_of(pool.sites.enrol, *arguments(pool, replace(site, key=taken), invitation)) == "KEY_IN_USE"
        assert reason_of(pool.sites.enrol, *arguments(pool, replace(site, tls=taken), invitation)) == "KEY_IN_USE"
    assert reason_of(pool.sites.enrol, *arguments(pool, replace(site, tls=site.key), invitation)) == "KEY_IN_USE"
    assert pool.sites.enrol(*arguments(pool, site, invitation)).state == "PENDING"


def test_inviting_again_voids_the_first_invitation(pool, site):
    first, second = pool.sites.invite("site-c", c.NOW), pool.sites.invite("site-c", c.NOW)
    assert reason_of(pool.sites.enrol, *arguments(pool, site, first)) == "INVITE_INVALID"
    assert pool.sites.enrol(*arguments(pool, site, second)).state == "PENDING"
    assert reason_of(pool.sites.invite, "site-c", c.NOW) == "SITE_EXISTS"


def test_an_invitation_ends(pool, site):
    invitation = pool.sites.invite("site-c", c.NOW, life=timedelta(hours=1))
    application, proof, channel, _ = arguments(pool, site, invitation)
    late = c.NOW + timedelta(hours=1, seconds=1)
    assert reason_of(pool.sites.enrol, application, proof, channel, late) == "INVITE_EXPIRED"
    assert pool.sites.enrol(application, proof, channel, c.NOW + timedelta(hours=1)).state == "PENDING"
    assert pool.sites.enrol(application, proof, channel, late).state == "PENDING"  # the answer was lost
    for life in (timedelta(0), timedelta(days=366)):
        assert reason_of(lambda life=life: pool.sites.invite("site-d", c.NOW, life=life)) == "OPTION_INVALID"


def test_the_secret_is_gone_once_it_was_used(place, site):
    invitation = place.pool.sites.invite("site-c", c.NOW)
    place.pool.sites.enrol(*arguments(place.pool, site, invitation))
    place.pool.close()
    for path in place.folder.glob("ledger.sqlite*"):
        assert invitation.secret.encode() not in path.read_bytes()


def test_an_invitation_survives_a_restart(place, site):
    invitation = place.pool.sites.invite("site-c", c.NOW)
    pool = place.reopen()
    assert pool.sites.enrol(*arguments(pool, site, invitation)).state == "PENDING"


def test_a_site_revoked_before_it_enrolled_cannot_enrol(pool, site):
    invitation = pool.sites.invite("site-c", c.NOW)
    pool.sites.revoke("site-c")
    assert reason_of(pool.sites.enrol, *arguments(pool, site, invitation)) == "INVITE_INVALID"
    assert reason_of(lambda: pool.sites.invite("site-c", c.NOW, again=True)) == "SITE_EXISTS"


def test_only_the_keys_that_the_site_read_aloud_are_approved(pool, site):
    c.enrol(pool, site)
    assert reason_of(pool.sites.approve, "site-c", "0" * 32) == "FINGERPRINT_MISMATCH"
    assert pool.sites.get("site-c").state == "PENDING"
    assert pool.sites.approve("site-c", pool.sites.get("site-c").fingerprint).state == "ACTIVE"


def test_a_site_that_lost_its_keys_begins_anew_and_the_lost_ones_open_nothing(place, site):
    pool = place.pool
    c.enrol(pool, site)
    pool.sites.approve("site-c")
    assert certificate(pool, site)
    first = place.contribute(site)
    invitation = pool.sites.invite("site-c", c.NOW, again=True)
    assert (pool.sites.get("site-c").state, pool.sites.get("site-c").fingerprint) == ("INVITED", "")
    assert pool.sites.holder(site.tls.public.keyid).ends is not None
    assert reason_of(pool.sites.enrol, *arguments(pool, site, invitation)) == "KEY_IN_USE"
    fresh = c.Contributor("site-c")
    pool.sites.enrol(*arguments(pool, fresh, invitation))
    pool.sites.approve("site-c")
    assert certificate(pool, site) == ""
    packed = site.pack(pool, place.weights())
    later = c.NOW + timedelta(seconds=1)
    assert reason_of(pool.contributions.intake.begin, packed.bundle, packed.manifest, later) == "KEY_REVOKED"
    second = place.contribute(fresh)  # the chain of the name goes on
    assert parse_manifest(pool.contributions.get(second.contribution_id).manifest).prev == first.contribution_id
    assert fsck(place.folder) == []


# -- keys of a site that is in -----------------------------------------------------------------------------------------


def test_the_state_of_a_site_is_told_to_who_knows_its_key(place):
    pool = place.pool
    for name, keyid in (("site-a", place.b.tls.public.keyid), ("site-a", "0" * 64), ("nobody", "0" * 64)):
        assert reason_of(pool.sites.certificate, name, keyid, issue, c.NOW) == "SITE_UNKNOWN"
    assert pool.sites.certificate("site-a", place.a.tls.public.keyid, issue, c.NOW)[0].name == "site-a"


def test_a_renewal_is_for_another_key_and_the_old_one_ends_an_hour_later(place):
    pool, fresh = place.pool, SigningKey.generate()
    old = place.a.tls.public.keyid
    pem = pool.sites.renew("site-a", make_csr(fresh), issue, c.NOW)
    assert pool.sites.renew("site-a", make_csr(fresh), issue, c.NOW + timedelta(hours=2)) == pem
    assert pool.sites.holder(old).ends == c.NOW + timedelta(seconds=LIMITS.renew_seconds)
    assert pool.sites.holder(fresh.public.keyid).ends is None
    assert (certificate(pool, place.a), certificate(pool, place.a, fresh)) == ("", pem)
    assert reason_of(pool.sites.renew, "site-a", make_csr(place.a.tls), issue, c.NOW) == "KEY_IN_USE"
    for key in (place.a.key, place.b.tls):  # a key never gets a second purpose or owner
        assert reason_of(pool.sites.renew, "site-a", make_csr(key), issue, c.NOW) == "KEY_IN_USE"
    pool.sites.suspend("site-a")
    assert reason_of(pool.sites.renew, "site-a", make_csr(SigningKey.generate()), issue, c.NOW) == "SITE_NOT_ACTIVE"


def test_a_replaced_signing_key_is_accepted_for_a_week(place):
    pool, fresh = place.pool, replace(place.a, key=SigningKey.generate())
    both = rotation.sign(place.a.key, fresh.key, pool.origin, "site-a")
    first = place.contribute(place.a)
    keyid, ends = pool.sites.rotate("site-a", *both, c.NOW)
    assert keyid == pool.sites.get("site-a").keyid == fresh.key.public.keyid
    assert moment(ends) == c.NOW + timedelta(seconds=LIMITS.overlap_seconds)
    assert pool.sites.rotate("site-a", *both, c.NOW + timedelta(days=1)) == (keyid, ends)
    place.contribute(place.a)
    place.contribute(fresh)
    old = place.pack(place.a)
    assert (
        reason_of(pool.contributions.intake.begin, old.bundle, old.manifest, moment(ends) + timedelta(seconds=1))
        == "KEY_REVOKED"
    )
    assert pool.contributions.get(first.contribution_id).site_key_pem == place.a.key.public.pem
    assert fsck(place.folder) == []


def test_a_rotation_that_is_not_the_sites_own_is_refused(place):
    pool, fresh, thief = place.pool, SigningKey.generate(), SigningKey.generate()
    for both, reason in (
        (rotation.sign(thief, fresh, pool.origin, "site-a"), "SIGNATURE_INVALID"),
        (rotation.sign(place.b.key, fresh, pool.origin, "site-b"), "SIGNATURE_INVALID"),
        (rotation.sign(place.a.key, fresh, "other.pool/log", "site-a"), "STATEMENT_MALFORMED"),
        (rotation.sign(place.a.key, place.b.key, pool.origin, "site-a"), "KEY_IN_USE"),
        (rotation.sign(place.a.key, place.a.tls, pool.origin, "site-a"), "KEY_IN_USE"),
    ):
        assert reason_of(pool.sites.rotate, "site-a", *both, c.NOW) == reason
    assert pool.sites.get("site-a").keyid == place.a.key.public.keyid


def test_a_key_that_was_replaced_cannot_choose_another_successor(place):
    pool = place.pool
    pool.sites.rotate("site-a", *rotation.sign(place.a.key, SigningKey.generate(), pool.origin, "site-a"), c.NOW)
    thief = rotation.sign(place.a.key, SigningKey.generate(), pool.origin, "site-a")
    assert reason_of(pool.sites.rotate, "site-a", *thief, c.NOW) == "KEY_IN_USE"


def test_every_decision_on_a_site_passes_the_one_place(pool, site, caplog):
    with caplog.at_level(logging.INFO, "genepool_server.pool.sites.membership"):
        c.enrol(pool, site)
        for change in (pool.sites.approve, pool.sites.suspend, pool.sites.approve):
            change("site-c")
        pool.sites.renew("site-c", make_csr(SigningKey.generate()), issue, c.NOW)
        pool.sites.rotate("site-c", *rotation.sign(site.key, SigningKey.generate(), pool.origin, "site-c"), c.NOW)
        pool.sites.revoke("site-c")
    events = [record.args[1] for record in caplog.records]
    assert events == [
        *("invited", "enrolled", "approved", "suspended", "approved", "rotated", "revoked"),
    ]


def test_the_registry_follows_every_word_of_the_operator(place):
    pool, keyid = place.pool, place.a.tls.public.keyid
    assert pool.sites.holder("0" * 64) is None
    for change, state in (
        (pool.sites.suspend, "SUSPENDED"),
        (pool.sites.approve, "ACTIVE"),
        (pool.sites.revoke, "REVOKED"),
    ):
        change("site-a")
        assert (pool.sites.holder(keyid).site, pool.sites.holder(keyid).state) == ("site-a", state)
    assert place.reopen().sites.holder(keyid).state == "REVOKED"


STATES = ("INVITED", "PENDING", "ACTIVE", "SUSPENDED", "REVOKED")


@pytest.mark.parametrize("start", STATES)
@pytest.mark.parametrize("verb", ["approve", "suspend", "revoke"])
def test_the_operator_moves_a_site_along_the_table_and_nowhere_else(place, start, verb):
    place.pool.close()
    engine = Sqlite(place.folder / "ledger.sqlite").writer()
    with engine.begin() as tx:
        tx.exec_driver_sql("UPDATE site SET state = ? WHERE name = 'site-a'", (start,))
    engine.dispose()
    pool = place.reopen()
    end = {"approve": "ACTIVE", "suspend": "SUSPENDED", "revoke": "REVOKED"}[verb]
    if (start, end) in membership.MOVES:
        assert getattr(pool.sites, verb)("site-a").state == end
    else:
        assert reason_of(getattr(pool.sites, verb), "site-a") == "STATE_TRANSITION"
        assert pool.sites.get("site-a").state == start


def test_a_site_that_is_not_there_is_named(pool):
    for call in (pool.sites.get, pool.sites.approve, pool.sites.suspend, pool.sites.revoke):
        assert reason_of(call, "nobody") == "SITE_UNKNOWN"
    assert reason_of(pool.contributions.intake.begin_nonce, "nobody", c.NOW) == "SITE_UNKNOWN"
