"""How a site gets in, stays in and is kept out, on the wire: each attack on identity is refused with its own reason."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from genepool_protocol.trust import rotation
from genepool_protocol.trust.enrolment import channel_of, mac, make_csr, site_uri
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.v1 import consume_pb2, pool_pb2
from genepool_protocol.v1 import contribute_pb2 as pb
from genepool_server.tls import certificates, client_ca, identity
from tests.integration.server.wire import WireSite, chunks, refused
from tests.support.server import TIMEOUT, Stubs, certified_channel, pool_server

KEYS = consume_pb2.ListKeysRequest(blueprint="tiny-16")


def nonce(stubs: Stubs, site: str):
    return stubs.contribute.BeginNonce(pb.BeginNonceRequest(site=site), timeout=TIMEOUT)


def refused_nonce(site: WireSite, stubs: Stubs | None = None) -> str:
    return refused((stubs or site.stubs).contribute.BeginNonce, pb.BeginNonceRequest(site=site.name)).reason


def showing(server, key: SigningKey | None, chain: bytes | None) -> Stubs:
    return Stubs(certified_channel(server.anchors, key, chain))


def leaf(
    keys, names: list[str], key: SigningKey, *, days: float = 30, purpose=ExtendedKeyUsageOID.CLIENT_AUTH
) -> bytes:
    """A certificate of the pool's own client CA with names of our choice."""
    general = [
        x509.DNSName(one[4:]) if one.startswith("dns:") else x509.UniformResourceIdentifier(one) for one in names
    ]
    now = identity.utc_now()
    authority = certificates.Authority.read(keys, "client-ca")
    end = now + timedelta(days=days)
    start = min(now, end - timedelta(days=1))
    made = authority.issue(key.public, x509.SubjectAlternativeName(general), purpose, start, end)
    return made.public_bytes(Encoding.PEM)


def handshake_fails(server, key: SigningKey | None, chain: bytes | None) -> bool:
    with pytest.raises(grpc.RpcError) as caught:
        nonce(showing(server, key, chain), "anybody")
    return caught.value.code() is grpc.StatusCode.UNAVAILABLE


# -- enrolling ---------------------------------------------------------------------------------------------------------


def test_enrolling_again_with_the_same_keys_gives_the_same_answer(new_site, stubs):
    site = new_site()
    request = site.enrol_request()
    first = stubs.enrolment.Enrol(request, timeout=TIMEOUT)
    assert stubs.enrolment.Enrol(request, timeout=TIMEOUT) == first
    found = site.enrolment()
    assert (found.state, found.keyid, found.fingerprint) == (first.state, first.keyid, first.fingerprint)
    assert found.certificate_pem == ""


def test_a_certificate_comes_with_the_approval_and_names_the_site_alone(server, new_site):
    site = new_site().join()
    made = x509.load_pem_x509_certificate(site.chain)
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == [site_uri(server.trusted.origin, site.name)]
    purposes = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert made.subject == x509.Name([])
    assert made.public_key() == site.contributor.tls.private.public_key()
    assert site.enrolment().certificate_pem.encode() == site.chain
    assert nonce(site.stubs, site.name).nonce


def test_a_wrong_mac_is_refused_and_uses_nothing_up(new_site, stubs):
    site = new_site()
    request = site.enrol_request()
    wrong = pb.EnrolRequest()
    wrong.CopyFrom(request)
    wrong.mac = bytes(32)
    assert refused(stubs.enrolment.Enrol, wrong).reason == "INVITE_INVALID"
    assert stubs.enrolment.Enrol(request, timeout=TIMEOUT).state == pb.SITE_STATE_PENDING


def test_attack_22_an_invitation_with_other_requests_is_used(server, new_site, stubs):
    site = new_site()
    invitation = server.pool.sites.invite(site.name, datetime.now(UTC))
    stubs.enrolment.Enrol(site.request_for(invitation), timeout=TIMEOUT)
    site.contributor = replace(site.contributor, tls=SigningKey.generate())
    assert refused(stubs.enrolment.Enrol, site.request_for(invitation)).reason == "INVITE_USED"


def test_attack_23_a_request_is_replayed_under_another_invitation(new_site, stubs):
    victim, thief = new_site().join(), new_site()
    thief.contributor = replace(thief.contributor, key=victim.contributor.key, tls=victim.contributor.tls)
    assert refused(stubs.enrolment.Enrol, thief.enrol_request()).reason == "KEY_IN_USE"


def test_an_invitation_that_ended_is_refused(new_site, stubs, server):
    site = new_site()
    past = datetime.now(UTC) - timedelta(hours=2)
    invitation = server.pool.sites.invite(site.name, past, life=timedelta(hours=1))
    assert refused(stubs.enrolment.Enrol, site.request_for(invitation)).reason == "INVITE_EXPIRED"


def test_an_invitation_of_another_pool_is_refused(tmp_path, new_site, stubs):
    site = new_site()
    site.enrol_request()
    with pool_server(tmp_path, name="other.pool/log") as other, other.stubs() as theirs:
        foreign = WireSite(other, theirs, site.name)
        foreign.contributor = site.contributor
        invitation = other.pool.sites.invite(site.name, datetime.now(UTC))
        assert refused(stubs.enrolment.Enrol, foreign.request_for(invitation)).reason == "INVITE_INVALID"


def test_an_invitation_that_was_answered_over_a_false_ca_is_refused(server, new_site, stubs, tmp_path):
    """Who stands between site and pool with a CA of his own gets a MAC that the pool does not take."""
    site = new_site()
    invitation = server.pool.sites.invite(site.name, datetime.now(UTC))
    request = site.request_for(invitation)
    application = site.contributor.application(invitation.invite_id)
    false = channel_of(identity.create_ca(tmp_path, identity.utc_now()))
    request.mac = mac(invitation.secret, server.trusted.origin, false, application)
    assert refused(stubs.enrolment.Enrol, request).reason == "INVITE_INVALID"


def test_strangers_learn_nothing_of_sites(site, stubs):
    for name, keyid in ((site.name, "0" * 64), ("nobody", site.contributor.tls.public.keyid)):
        request = pb.GetEnrolmentRequest(site=name, tls_keyid=keyid)
        assert refused(stubs.enrolment.GetEnrolment, request).reason == "SITE_UNKNOWN"


# -- showing a certificate ---------------------------------------------------------------------------------------------


def test_without_a_certificate_nothing_but_enrolling_and_public_reading_is_answered(site, stubs):
    write = pb.WriteRequest(upload_id="0" * 64, data=b"x")
    for call, request in (
        (stubs.contribute.BeginNonce, pb.BeginNonceRequest(site=site.name)),
        (stubs.contribute.Begin, pb.BeginRequest()),
        (stubs.contribute.Write, iter([write])),
        (stubs.contribute.QueryWriteStatus, pb.QueryWriteStatusRequest()),
        (stubs.contribute.Commit, pb.CommitRequest()),
        (stubs.contribute.GetContribution, pb.GetContributionRequest()),
        (stubs.contribute.JoinCampaign, pb.JoinCampaignRequest()),
        (stubs.enrolment.Renew, pb.RenewRequest()),
        (stubs.enrolment.RotateSigningKey, pb.RotateSigningKeyRequest()),
    ):
        assert refused(call, request).reason == "CERT_REQUIRED"


def test_a_client_of_a_wrong_ca_or_none_or_in_plain_text_gets_no_answer(server, site, tmp_path):
    key = SigningKey.generate()
    assert handshake_fails(server, None, None)
    (tmp_path / "keys").mkdir(mode=0o700)
    client_ca.create(tmp_path / "keys", identity.utc_now())
    assert handshake_fails(server, key, leaf(tmp_path / "keys", [site_uri(server.trusted.origin, site.name)], key))
    port = certified_port(server)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as opened:
        assert refused(Stubs(opened).contribute.BeginNonce, pb.BeginNonceRequest()).reason == "POOL_UNREACHABLE"


def certified_port(server) -> int:
    with server.stubs() as stubs:
        return stubs.pool.GetCapabilities(
            pool_pb2.GetCapabilitiesRequest(api_version="1.0"), timeout=TIMEOUT
        ).certified_port


def test_a_certificate_of_another_pool_gets_no_answer(server, tmp_path):
    with pool_server(tmp_path, name="other.pool/log") as other, other.stubs() as stubs:
        foreign = WireSite(other, stubs, "north").join()
        assert handshake_fails(server, foreign.contributor.tls, foreign.chain)


def test_an_expired_certificate_gets_no_answer(server, site):
    old = leaf(server.folder / "keys", [site_uri(server.trusted.origin, site.name)], site.contributor.tls, days=-1)
    assert handshake_fails(server, site.contributor.tls, old)


def test_the_servers_own_certificate_is_no_clients(server):
    raw = (server.folder / "keys" / "tls.crt").read_bytes()
    assert handshake_fails(server, SigningKey.from_pem((server.folder / "keys" / "tls.pem").read_bytes()), raw)


@pytest.mark.parametrize(
    "names",
    [["SITE", "SITE"], ["SITE", "OTHER"], ["OTHER"], ["SITE", "dns:*.example"], ["dns:*"], ["POOL"]],
    ids=["twice", "two", "another", "with wildcard", "wildcard", "other pool"],
)
def test_attack_24_a_certificate_with_other_names_than_the_one_is_refused(server, site, names):
    origin = server.trusted.origin
    texts = {"SITE": site_uri(origin, site.name), "OTHER": site_uri(origin, "x"), "POOL": site_uri("y/log", site.name)}
    chain = leaf(server.folder / "keys", [texts.get(name, name) for name in names], site.contributor.tls)
    assert refused_nonce(site, showing(server, site.contributor.tls, chain)) == "CERT_UNKNOWN"


def test_a_certificate_for_a_key_that_is_not_registered_is_refused(server, site):
    key = SigningKey.generate()
    chain = leaf(server.folder / "keys", [site_uri(server.trusted.origin, site.name)], key)
    assert refused_nonce(site, showing(server, key, chain)) == "CERT_UNKNOWN"


def test_attack_15_the_certificate_of_one_site_does_not_submit_for_another(site, new_site, rng):
    other = new_site().join()
    assert refused_nonce(other, site.stubs) == "CERT_MISMATCH"
    packed = other.random(rng)
    request = pb.BeginRequest(bundle=packed.bundle, manifest=packed.manifest)
    assert refused(site.stubs.contribute.Begin, request).reason == "CERT_MISMATCH"
    begun = other.begin(packed)
    messages = list(chunks(begun.upload_id, packed.weights))
    assert refused(site.stubs.contribute.Write, iter(messages)).reason == "UPLOAD_UNKNOWN"
    status = pb.QueryWriteStatusRequest(upload_id=begun.upload_id)
    assert refused(site.stubs.contribute.QueryWriteStatus, status).reason == "UPLOAD_UNKNOWN"
    other.write(messages)
    commit = pb.CommitRequest(upload_id=begun.upload_id)
    assert refused(site.stubs.contribute.Commit, commit).reason == "UPLOAD_UNKNOWN"
    done = other.commit(begun.upload_id)
    assert refused(site.stubs.contribute.Commit, commit).reason == "UPLOAD_UNKNOWN"
    asked = pb.GetContributionRequest(contribution_id=done.contribution_id)
    assert refused(site.stubs.contribute.GetContribution, asked).reason == "CONTRIBUTION_UNKNOWN"  # attack 38


def test_a_role_that_is_not_held_is_refused(site, new_site, rng):
    auditor, consumer = new_site().join(roles=("auditor",)), new_site().join(roles=("consumer",))
    assert refused_nonce(auditor) == refused_nonce(consumer) == "ROLE_MISSING"
    assert refused(auditor.stubs.select.ListKeys, KEYS).reason == "ROLE_MISSING"
    assert list(consumer.stubs.select.ListKeys(KEYS, timeout=TIMEOUT)) is not None
    asked = pb.GetContributionRequest(contribution_id=site.contribute(rng).contribution_id)
    assert auditor.stubs.contribute.GetContribution(asked, timeout=TIMEOUT).receipt
    assert refused(consumer.stubs.contribute.GetContribution, asked).reason == "ROLE_MISSING"


@pytest.mark.parametrize(("who", "welcome"), [("nobody", False), ("local", True), ("everybody", True)])
def test_who_consumes_without_a_certificate_is_a_setting(tmp_path, who, welcome):
    with pool_server(tmp_path, anonymous_consumers=who) as server, server.stubs() as stubs:
        if welcome:
            assert list(stubs.select.ListKeys(KEYS, timeout=TIMEOUT)) == []
        else:
            assert refused(stubs.select.ListKeys, KEYS).reason == "CERT_REQUIRED"
            consumer = WireSite(server, stubs, "reader").join(roles=("consumer",))
            assert list(consumer.stubs.select.ListKeys(KEYS, timeout=TIMEOUT)) == []


# -- being shut out ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("verb", "reason"), [("suspend", "SITE_NOT_ACTIVE"), ("revoke", "KEY_REVOKED")])
def test_attack_20_a_site_that_is_shut_out_is_refused_on_the_connection_that_it_has(server, site, verb, reason):
    assert nonce(site.stubs, site.name).nonce
    getattr(server.pool.sites, verb)(site.name)
    assert refused_nonce(site) == reason
    assert refused(site.stubs.enrolment.Renew, pb.RenewRequest()).reason == reason
    assert refused(site.stubs.select.ListKeys, KEYS).reason == reason
    if verb == "suspend":
        server.pool.sites.approve(site.name)
        assert nonce(site.stubs, site.name).nonce


@pytest.mark.parametrize(("verb", "reason"), [("suspend", "SITE_NOT_ACTIVE"), ("revoke", "KEY_REVOKED")])
def test_attack_21_a_site_is_shut_out_in_the_middle_of_an_upload(server, site, rng, verb, reason):
    packed = site.random(rng)
    begun = site.begin(packed)
    parts = list(chunks(begun.upload_id, packed.weights))
    sent, decided = threading.Event(), threading.Event()

    def stream():
        yield parts[0]
        sent.set()
        decided.wait(TIMEOUT)
        yield from parts[1:]

    call = site.stubs.contribute.Write.future(stream(), timeout=TIMEOUT)
    assert sent.wait(TIMEOUT)
    getattr(server.pool.sites, verb)(site.name)
    decided.set()
    with pytest.raises(grpc.RpcError) as caught:
        call.result()
    assert reason in str(caught.value.trailing_metadata())
    assert refused(site.stubs.contribute.Commit, pb.CommitRequest(upload_id=begun.upload_id)).reason == reason
    if verb == "suspend":
        server.pool.sites.approve(site.name)
        site.write(list(chunks(begun.upload_id, packed.weights, site.begin(packed).committed_size)))
        assert site.commit(begun.upload_id).state == pb.CONTRIBUTION_STATE_ACTIVE


# -- other keys --------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    """How far the clock of the test's own server goes ahead: set `clock[0]`."""
    ahead = [timedelta(0)]
    monkeypatch.setattr(identity, "utc_now", lambda: datetime.now(UTC) + ahead[0])
    return ahead


def test_a_renewed_certificate_opens_and_the_one_before_closes_after_its_grace(tmp_path, clock):
    with pool_server(tmp_path) as server, server.stubs() as stubs:
        site, fresh = WireSite(server, stubs, "north").join(), SigningKey.generate()
        request = pb.RenewRequest(tls_csr=make_csr(fresh))
        pem = site.stubs.enrolment.Renew(request, timeout=TIMEOUT).certificate_pem.encode()
        assert site.stubs.enrolment.Renew(request, timeout=TIMEOUT).certificate_pem.encode() == pem
        renewed = showing(server, fresh, pem)
        assert nonce(renewed, site.name).nonce
        assert nonce(site.stubs, site.name).nonce  # a call that runs may end under the old one
        clock[0] = timedelta(hours=2)
        assert refused_nonce(site) == "CERT_UNKNOWN"
        assert nonce(renewed, site.name).nonce


def test_an_expired_certificate_is_refused_on_a_connection_that_was_open_before(tmp_path, clock):
    with pool_server(tmp_path) as server, server.stubs() as stubs:
        site = WireSite(server, stubs, "north").join()
        assert nonce(site.stubs, site.name).nonce
        clock[0] = timedelta(days=91)
        assert refused_nonce(site) == "CERT_EXPIRED"


def test_a_signing_key_is_replaced_by_what_both_keys_signed(server, site, rng):
    origin, fresh = server.trusted.origin, SigningKey.generate()
    by_old, by_new = rotation.sign(site.contributor.key, fresh, origin, site.name)
    thief = rotation.sign(SigningKey.generate(), fresh, origin, site.name)[0]
    rotate = site.stubs.enrolment.RotateSigningKey
    assert refused(rotate, pb.RotateSigningKeyRequest(by_old=thief, by_new=by_new)).reason == "SIGNATURE_INVALID"
    answer = rotate(pb.RotateSigningKeyRequest(by_old=by_old, by_new=by_new), timeout=TIMEOUT)
    assert answer.keyid == fresh.public.keyid
    site.contribute(rng)  # under the old key, in its last week
    site.contributor = replace(site.contributor, key=fresh)
    assert site.contribute(rng).state == pb.CONTRIBUTION_STATE_ACTIVE


# -- quotas ------------------------------------------------------------------------------------------------------------


def test_attack_35_rates_and_quotas_are_refused_with_a_hint_when_to_come_back(tmp_path, rng):
    quotas = {"contributions_per_day": 1, "open_uploads": 1, "calls_per_minute": 6}
    with pool_server(tmp_path, quotas=quotas) as server, server.stubs() as stubs:
        site = WireSite(server, stubs, "north").join()
        waiting, packed = site.random(rng), site.random(rng)
        upload = site.begin(packed).upload_id
        many = refused(site.stubs.contribute.Begin, pb.BeginRequest(bundle=waiting.bundle, manifest=waiting.manifest))
        assert (many.reason, many.metadata["retry_seconds"]) == ("TOO_MANY_UPLOADS", "300")
        site.write(list(chunks(upload, packed.weights)))
        site.commit(upload)
        full = site.random(rng)
        quota = refused(site.stubs.contribute.Begin, pb.BeginRequest(bundle=full.bundle, manifest=full.manifest))
        assert quota.reason == "QUOTA_EXCEEDED"
        assert 0 < int(quota.metadata["retry_seconds"]) <= 86_400
        for _ in range(3):
            nonce(site.stubs, site.name)
        fast = refused(site.stubs.contribute.BeginNonce, pb.BeginNonceRequest(site=site.name))
        assert fast.reason == "RATE_EXCEEDED"
        assert 0 < int(fast.metadata["retry_seconds"]) <= 10  # a call refills every ten, and some of them have passed
