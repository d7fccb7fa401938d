"""model.sig: one shape, one signature, one spelling."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genepool_protocol.trust import envelope
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.wire.errors import InvalidInput, VerificationError
from genepool_protocol.wire.limits import LIMITS

KEY = SigningKey.generate()
PAYLOAD = b'{"_type":"x"}'
RAW = envelope.sign_statement(KEY, PAYLOAD)


def refused(raw: bytes) -> str:
    with pytest.raises(InvalidInput) as caught:
        envelope.parse(raw)
    return caught.value.reason


def changed(edit) -> bytes:
    value = json.loads(RAW)
    edit(value)
    return json.dumps(value).encode()


def test_a_bundle_comes_back_with_its_parts():
    bundle = envelope.parse(RAW)
    assert (bundle.payload, bundle.keyid, bundle.hint, bundle.tlog) == (
        PAYLOAD,
        KEY.public.keyid,
        KEY.public.hint,
        None,
    )
    verified = envelope.verify(bundle, KEY.public)
    assert (verified.payload, verified.key, verified.signature) == (PAYLOAD, KEY.public, bundle.signature)


def test_what_is_signed_is_the_pre_authentication_encoding():
    assert envelope.pae(b"hello \xc3\xa9") == b"DSSEv1 28 application/vnd.in-toto+json 8 hello \xc3\xa9"
    KEY.public.verify(envelope.parse(RAW).signature, envelope.pae(PAYLOAD))


def test_signing_again_gives_the_same_bundle():
    assert envelope.sign_statement(KEY, PAYLOAD) == RAW


def test_a_receipt_is_the_same_bundle_with_an_entry():
    bundle = envelope.parse(envelope.with_receipt(envelope.parse(RAW), {"logIndex": "0"}))
    assert bundle.tlog == {"logIndex": "0"}
    assert envelope.verify(bundle, KEY.public).payload == PAYLOAD


def test_another_key_did_not_sign_it():
    with pytest.raises(VerificationError) as caught:
        envelope.verify(envelope.parse(RAW), SigningKey.generate().public)
    assert caught.value.reason == "SIGNATURE_INVALID"


def test_another_payload_was_not_signed():
    other = changed(lambda v: v["dsseEnvelope"].update(payload=base64.b64encode(PAYLOAD + b" ").decode()))
    with pytest.raises(VerificationError):
        envelope.verify(envelope.parse(other), KEY.public)


def test_optional_members_may_be_absent():
    bundle = envelope.parse(
        changed(
            lambda v: (v["verificationMaterial"].pop("tlogEntries"), v["dsseEnvelope"]["signatures"][0].pop("keyid"))
        )
    )
    assert (bundle.keyid, bundle.tlog) == ("", None)


ONE = json.loads(RAW)["dsseEnvelope"]["signatures"][0]


@pytest.mark.parametrize(
    "edit",
    [
        lambda v: v.update(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.3"),
        lambda v: v.update(mediaType="application/vnd.dev.sigstore.bundle.v0.2+json"),
        lambda v: v.update(mediaType=None),
        lambda v: v.pop("mediaType"),
        lambda v: v.pop("verificationMaterial"),
        lambda v: v.pop("dsseEnvelope"),
        lambda v: v.update(extra=1),
        lambda v: v.update(verificationMaterial=[]),
        lambda v: v["verificationMaterial"].pop("publicKey"),
        lambda v: v["verificationMaterial"].update(timestampVerificationData={}),
        lambda v: v["verificationMaterial"].update(publicKey={}),
        lambda v: v["verificationMaterial"].update(publicKey={"hint": 1}),
        lambda v: v["verificationMaterial"].update(publicKey={"hint": "x" * 129}),
        lambda v: v["verificationMaterial"]["publicKey"].update(rawBytes=""),
        lambda v: v["verificationMaterial"].update(tlogEntries=[{}, {}]),
        lambda v: v["verificationMaterial"].update(tlogEntries=["entry"]),
        lambda v: v["verificationMaterial"].update(tlogEntries=None),
        lambda v: v["verificationMaterial"].update(tlogEntries={}),
        lambda v: v["dsseEnvelope"].update(payloadType="application/json"),
        lambda v: v["dsseEnvelope"].update(payloadType="application/vnd.in-toto+json "),
        lambda v: v["dsseEnvelope"].pop("payloadType"),
        lambda v: v["dsseEnvelope"].update(extra=1),
        lambda v: v["dsseEnvelope"].update(signatures=[]),
        lambda v: v["dsseEnvelope"].update(signatures=[ONE, ONE]),
        lambda v: v["dsseEnvelope"].update(signatures=ONE),
        lambda v: v["dsseEnvelope"].update(signatures=["sig"]),
        lambda v: v["dsseEnvelope"].update(signatures=[{"keyid": ""}]),
        lambda v: v["dsseEnvelope"].update(signatures=[ONE | {"cert": ""}]),
        lambda v: v["dsseEnvelope"].update(signatures=[ONE | {"keyid": None}]),
        lambda v: v["dsseEnvelope"].update(payload=None),
        lambda v: v["dsseEnvelope"].update(payload="e30"),
        lambda v: v["dsseEnvelope"].update(payload="e31="),
        lambda v: v["dsseEnvelope"].update(payload="e30=\n"),
        lambda v: v["dsseEnvelope"].update(payload=" e30="),
        lambda v: v["dsseEnvelope"].update(payload="e3-="),
        lambda v: v["dsseEnvelope"].update(payload="e30=e30="),
        lambda v: v["dsseEnvelope"].update(payload="\N{LATIN SMALL LETTER E WITH ACUTE}30="),
        lambda v: v["dsseEnvelope"].update(signatures=[ONE | {"sig": ONE["sig"] + "="}]),
    ],
)
def test_every_other_shape_is_refused(edit):
    assert refused(changed(edit)) == "BUNDLE_MALFORMED"


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b'"x"', b"1"])
def test_what_is_no_object_is_refused(raw):
    assert refused(raw) in ("JSON_MALFORMED", "BUNDLE_MALFORMED")


@pytest.mark.parametrize("member", ["mediaType", "payload", "payloadType", "signatures", "sig", "keyid", "hint"])
def test_a_member_that_appears_twice_is_refused(member):
    text = RAW.decode()
    start = text.index(f'"{member}":')
    assert refused((text[:start] + f'"{member}":"",' + text[start:]).encode()) == "JSON_MALFORMED"


def test_a_bundle_beyond_the_limit_is_refused():
    padding = LIMITS.bundle_bytes - len(RAW)
    envelope.parse(RAW + b" " * padding)
    assert refused(RAW + b" " * (padding + 1)) == "JSON_MALFORMED"


@given(st.integers(0, len(RAW) - 1), st.integers(0, 255))
def test_no_changed_byte_gives_another_verified_payload(at, byte):
    raw = RAW[:at] + bytes([byte]) + RAW[at + 1 :]
    try:
        verified = envelope.verify(envelope.parse(raw), KEY.public)
    except (InvalidInput, VerificationError):
        return
    assert verified.payload == PAYLOAD
