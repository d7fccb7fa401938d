"""What binds an enrolling site: requests that prove their key, a MAC over everything, a fingerprint over both keys."""

import base64
import hashlib
import hmac
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from genepool_protocol.trust import enrolment
from genepool_protocol.trust.keys import SigningKey
from tests.support.refusals import reason_of

SECRET = base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip("=")
ORIGIN, CHANNEL = "pool.test/log", b"c" * 32
_SHA256 = SHA256()
APPLICATION = enrolment.Application("north", "0" * 32, b"tls", b"signing")


_EC, _P256 = bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06082a8648ce3d030107")  # object ids in DER


def csr(key, hashing=_SHA256) -> bytes:
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(key, hashing)
        .public_bytes(Encoding.DER)
    )


def test_the_mac_is_over_the_bytes_of_the_specification():
    hashed = [hashlib.sha256(one).digest() for one in (b"pool.test/log", b"north", b"0" * 32, b"tls", b"signing")]
    expected = hmac.digest(bytes(range(32)), b"genepool-enrol-v2" + CHANNEL + b"".join(hashed), "sha256")
    assert enrolment.mac(SECRET, ORIGIN, CHANNEL, APPLICATION) == expected


@given(st.sampled_from(["secret", "origin", "channel", "site", "invite_id", "tls_csr", "signing_csr"]))
def test_no_part_of_what_is_authenticated_can_be_exchanged(part):
    changed = {"secret": SECRET[:-2] + "AA", "origin": "other.test/log", "channel": b"d" * 32}
    application = APPLICATION
    if part not in changed:
        old = getattr(APPLICATION, part)
        application = replace(APPLICATION, **{part: old + (b"x" if isinstance(old, bytes) else "x")})
    given_ = {"secret": SECRET, "origin": ORIGIN, "channel": CHANNEL} | {k: v for k, v in changed.items() if k == part}
    other = enrolment.mac(given_["secret"], given_["origin"], given_["channel"], application)
    assert other != enrolment.mac(SECRET, ORIGIN, CHANNEL, APPLICATION)


def test_swapped_requests_have_another_mac():
    swapped = replace(APPLICATION, tls_csr=b"signing", signing_csr=b"tls")
    assert enrolment.mac(SECRET, ORIGIN, CHANNEL, swapped) != enrolment.mac(SECRET, ORIGIN, CHANNEL, APPLICATION)


def test_a_request_proves_its_key_and_is_the_same_each_time():
    key = SigningKey.generate()
    raw = enrolment.make_csr(key)
    assert enrolment.make_csr(key) == raw
    assert enrolment.read_csr(raw, "request") == key.public


def test_a_request_that_another_key_signed_is_refused():
    ours, theirs = (enrolment.make_csr(SigningKey.generate()) for _ in range(2))
    parsed = [x509.load_der_x509_csr(raw) for raw in (ours, theirs)]
    assert parsed[0].tbs_certrequest_bytes in ours
    forged = ours.replace(parsed[0].tbs_certrequest_bytes, parsed[1].tbs_certrequest_bytes)
    assert reason_of(enrolment.read_csr, forged, "request") == "SIGNATURE_INVALID"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"garbage",
        csr(rsa.generate_private_key(65537, 2048)),
        csr(ed25519.Ed25519PrivateKey.generate(), None),
        csr(ec.generate_private_key(ec.SECP384R1())),
        enrolment.make_csr(SigningKey.generate()) + bytes(4096),
        enrolment.make_csr(SigningKey.generate()).replace(b"\x02\x01\x00", b"\x02\x01\x08", 1),
        enrolment.make_csr(SigningKey.generate()).replace(_EC, _EC[:-1] + b"\x09", 1),
        enrolment.make_csr(SigningKey.generate()).replace(_P256, _P256[:-1] + b"\x09", 1),
    ],
    ids=["empty", "garbage", "rsa", "ed25519", "p384", "large", "version", "algorithm", "curve"],
)
def test_attack_23_a_request_that_is_none_or_of_another_algorithm_is_refused(raw):
    assert reason_of(enrolment.read_csr, raw, "request") == "KEY_MALFORMED"


@given(st.binary(max_size=300))
def test_no_bytes_make_a_request_fail_otherwise(raw):
    assert reason_of(enrolment.read_csr, raw, "request") in {"KEY_MALFORMED", "SIGNATURE_INVALID"}


def test_a_fingerprint_speaks_of_both_keys_and_is_compared_as_people_read_it():
    a, b, other = (SigningKey.generate().public.keyid for _ in range(3))
    found = enrolment.fingerprint(a, b)
    expected = hashlib.sha256(b"genepool-fingerprint-v1" + bytes.fromhex(a) + bytes.fromhex(b)).hexdigest()[:32]
    assert found == expected
    assert (
        len({found, enrolment.fingerprint(b, a), enrolment.fingerprint(a, other), enrolment.fingerprint(other, b)}) == 4
    )
    enrolment.check_fingerprint(enrolment.grouped(found).upper() + " ", found, "north")
    assert reason_of(enrolment.check_fingerprint, found[:-1], found, "north") == "FINGERPRINT_MISMATCH"
    assert reason_of(enrolment.check_fingerprint, "\u00e9", found, "north") == "FINGERPRINT_MISMATCH"


def test_the_channel_is_the_key_of_the_ca(tmp_path):
    from genepool_server.tls import identity

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = (identity.create_ca(tmp_path / name, identity.utc_now()) for name in "ab")
    assert enrolment.channel_of(first) != enrolment.channel_of(second)
    assert reason_of(enrolment.channel_of, "no certificate") == "KEY_MALFORMED"


def test_a_sites_name_in_a_certificate_is_one_of_its_pool():
    names = {enrolment.site_uri(pool, site) for pool in ("a/log", "b/log") for site in ("north", "south")}
    assert len(names) == 4
    assert enrolment.site_uri("a/log", "north") == f"spiffe://{hashlib.sha256(b'a/log').hexdigest()[:32]}/site/north"
