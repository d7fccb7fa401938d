"""Checks 3 to 7: the bundle, the key, the signature, the statement, the manifest."""

import base64
import json
from datetime import timedelta
from types import SimpleNamespace

import pytest
import rfc8785

from genepool_protocol.learngene.manifest import BUNDLE_FILE, LEARNGENE_FILE, MANIFEST_FILE, SUBJECT
from genepool_protocol.trust import digest, envelope
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.trust.statement import model_statement
from genepool_protocol.wire.errors import GenepoolError
from genepool_server.admission import statement
from tests.support import sites as c


@pytest.fixture
def world(template):
    """The signed artefact only: these checks need no pool."""
    _, site, weights, packed = template
    return SimpleNamespace(site=site, weights=weights, packed=packed)


def finder(site, state="ACTIVE"):
    def find(keyid, hint):
        key = site.key.public
        return (
            statement.Signer(site.name, state, key) if keyid == key.keyid or (not keyid and hint == key.hint) else None
        )

    return find


@pytest.mark.parametrize(("after", "reason"), [(-1, None), (0, None), (1, "KEY_REVOKED")])
def test_a_key_that_was_replaced_is_accepted_until_its_end(world, after, reason):
    signer = statement.Signer(world.site.name, "ACTIVE", world.site.key.public, c.NOW - timedelta(seconds=after))
    bundle = envelope.parse(world.packed.bundle)
    if reason is None:
        assert statement.select_signer(bundle, lambda *_: signer, c.NOW) == signer
    else:
        with pytest.raises(GenepoolError) as caught:
            statement.select_signer(bundle, lambda *_: signer, c.NOW)
        assert caught.value.reason == reason


def check(world, packed=None, state="ACTIVE"):
    packed = packed or world.packed
    return statement.check(packed.bundle, packed.manifest, finder(world.site, state), c.NOW)


def reason_of(world, packed, state="ACTIVE"):
    with pytest.raises(GenepoolError) as caught:
        check(world, packed, state)
    return caught.value.reason


def edited(packed, edit):
    """The bundle after a change to its JSON."""
    value = json.loads(packed.bundle)
    edit(value)
    return c.Packed(json.dumps(value).encode(), packed.manifest, packed.weights)


def signed(world, payload, manifest=None):
    bundle = envelope.sign_statement(world.site.key, payload)
    return c.Packed(bundle, manifest or world.packed.manifest, world.weights)


def statement_value(world):
    return json.loads(envelope.parse(world.packed.bundle).payload)


def test_an_honest_statement_passes_with_everything_it_says(world):
    claim = check(world)
    assert claim.site == "site-a"
    assert claim.contribution_id == world.packed.upload_id
    assert claim.manifest.canonical() == claim.raw == world.packed.manifest
    assert claim.statement.digests[LEARNGENE_FILE] == digest.sha256_hex(world.weights)


def test_the_parsed_payload_is_the_very_object_that_was_verified(world):
    claim = check(world)
    assert claim.verified.payload is claim.bundle.payload


@pytest.mark.parametrize(
    "edit",
    [
        lambda v: v["dsseEnvelope"]["signatures"].append(v["dsseEnvelope"]["signatures"][0]),
        lambda v: v["dsseEnvelope"].update(signatures=[]),
        lambda v: v["dsseEnvelope"].update(payloadType="application/json"),
        lambda v: v.update(mediaType="application/vnd.dev.sigstore.bundle.v0.2+json"),
        lambda v: v.update(extra=1),
        lambda v: v["dsseEnvelope"].update(payload=v["dsseEnvelope"]["payload"] + "\n"),
        lambda v: v["dsseEnvelope"].update(payload=v["dsseEnvelope"]["payload"].rstrip("=") + "!"),
        lambda v: v["dsseEnvelope"].update(payload=7),
        lambda v: v["dsseEnvelope"]["signatures"][0].pop("sig"),
        lambda v: v["verificationMaterial"].update(tlogEntries=[{}, {}]),
        lambda v: v["verificationMaterial"]["publicKey"].pop("hint"),
    ],
    ids=["two", "none", "type", "media", "extra", "newline", "base64", "number", "nosig", "twologs", "nohint"],
)
def test_a_malformed_bundle_is_refused(world, edit):
    assert reason_of(world, edited(world.packed, edit)) == "BUNDLE_MALFORMED"


@pytest.mark.parametrize("member", ["mediaType", "payload", "sig", "hint", "signatures"])
def test_a_member_that_appears_twice_is_refused_at_every_level(world, member):
    text = world.packed.bundle.decode()
    bundle = text.replace(f'"{member}":', f'"{member}":0,"{member}":', 1).encode()
    assert reason_of(world, c.Packed(bundle, world.packed.manifest, b"")) == "JSON_MALFORMED"


def test_a_bundle_or_manifest_of_one_byte_too_many_is_refused(world):
    bundle = world.packed.bundle + b" " * ((64 << 10) + 1 - len(world.packed.bundle))
    assert reason_of(world, c.Packed(bundle, world.packed.manifest, b"")) == "JSON_MALFORMED"
    packed = world.site.sign(b"x" * ((256 << 10) + 1), world.weights)
    assert reason_of(world, packed) == "JSON_MALFORMED"


def test_a_pretty_printed_bundle_without_key_id_passes(world):
    value = json.loads(world.packed.bundle)
    del value["dsseEnvelope"]["signatures"][0]["keyid"]
    packed = c.Packed(json.dumps(value, indent=2).encode(), world.packed.manifest, world.weights)
    assert check(world, packed).contribution_id == world.packed.upload_id


def test_an_unknown_key_is_refused(world):
    packed = world.site.sign(world.packed.manifest, world.weights, SigningKey.generate())
    assert reason_of(world, packed) == "KEY_UNKNOWN"


def test_a_signature_by_another_key_under_the_sites_key_id_is_refused(world):
    other = envelope.parse(world.site.sign(world.packed.manifest, world.weights, SigningKey.generate()).bundle)
    sig = base64.b64encode(other.signature).decode()
    packed = edited(world.packed, lambda v: v["dsseEnvelope"]["signatures"][0].update(sig=sig))
    assert reason_of(world, packed) == "SIGNATURE_INVALID"


def test_a_key_id_or_hint_of_another_site_is_refused(world):
    other = SigningKey.generate().public

    def find(keyid, hint):
        both = (world.site.key.public, other)
        return next(
            (
                statement.Signer("other", "ACTIVE", key)
                for key in both
                if keyid == key.keyid or (not keyid and hint == key.hint)
            ),
            None,
        )

    def foreign(value):
        value["verificationMaterial"]["publicKey"]["hint"] = other.hint
        value["dsseEnvelope"]["signatures"][0].update(keyid=other.keyid)

    def hint_alone(value):
        foreign(value)
        del value["dsseEnvelope"]["signatures"][0]["keyid"]

    for edit in (foreign, hint_alone):
        packed = edited(world.packed, edit)
        with pytest.raises(GenepoolError) as caught:
            statement.check(packed.bundle, packed.manifest, find, c.NOW)
        assert caught.value.reason == "SIGNATURE_INVALID"


@pytest.mark.parametrize(("state", "reason"), [
    ("PENDING", "SITE_NOT_ACTIVE"), ("SUSPENDED", "SITE_NOT_ACTIVE"), ("REVOKED", "KEY_REVOKED"),
])  # fmt: skip
def test_a_site_that_is_not_active_is_refused(world, state, reason):
    assert reason_of(world, world.packed, state) == reason


def test_a_flipped_bit_anywhere_in_payload_or_signature_is_refused(world):
    parsed = envelope.parse(world.packed.bundle)
    for member, data in (("payload", parsed.payload), ("sig", parsed.signature)):
        old = base64.b64encode(data)
        for at in range(0, len(data), max(1, len(data) // 40)):
            flipped = bytearray(data)
            flipped[at] ^= 1
            bundle = world.packed.bundle.replace(old, base64.b64encode(bytes(flipped)))
            assert bundle != world.packed.bundle, member
            assert reason_of(world, c.Packed(bundle, world.packed.manifest, b"")) == "SIGNATURE_INVALID"


@pytest.mark.parametrize(
    "edit",
    [
        lambda v: v.update(predicateType="https://slsa.dev/verification_summary/v1"),
        lambda v: v.update(_type="https://in-toto.io/Statement/v0.1"),
        lambda v: v["subject"][0]["digest"].update(sha256="0" * 64),
        lambda v: v["subject"][0].update(name="other"),
        lambda v: v["predicate"]["resources"][0].update(name="../learngene.safetensors"),
        lambda v: v["predicate"]["resources"].pop(),
        lambda v: v["predicate"]["resources"].append(dict(v["predicate"]["resources"][0], name="extra")),
        lambda v: v["predicate"]["resources"].append(v["predicate"]["resources"][0]),
        lambda v: v["predicate"]["resources"].reverse(),
        lambda v: v["predicate"]["resources"][0].update(digest="XYZ"),
        lambda v: v["predicate"]["serialization"].update(method="shards"),
        lambda v: v["predicate"]["serialization"].update(ignore_paths=[]),
        lambda v: v["predicate"].update(more=1),
        lambda v: v.update(predicate=[]),
    ],
)
def test_a_signed_statement_that_says_something_else_is_refused(world, edit):
    value = statement_value(world)
    edit(value)
    assert reason_of(world, signed(world, rfc8785.dumps(value))) == "STATEMENT_MALFORMED"


def test_names_that_were_swapped_are_refused(world):
    digests = statement.check(world.packed.bundle, world.packed.manifest, finder(world.site), c.NOW).statement.digests
    swapped = {LEARNGENE_FILE: digests[MANIFEST_FILE], MANIFEST_FILE: digests[LEARNGENE_FILE]}
    payload = model_statement(SUBJECT, swapped, ignore=[BUNDLE_FILE])
    assert reason_of(world, signed(world, payload)) == "DIGEST_MISMATCH"


def test_a_payload_with_a_member_twice_is_refused_although_it_was_signed(world):
    payload = envelope.parse(world.packed.bundle).payload
    twice = payload.replace(b'"_type":', b'"_type":"x","_type":', 1)
    assert reason_of(world, signed(world, twice)) == "JSON_MALFORMED"


def test_a_manifest_that_was_not_signed_is_refused(world):
    other = world.packed.manifest.replace(b"CC-BY-4.0", b"CC0-1.0.0")
    assert reason_of(world, c.Packed(world.packed.bundle, other, b"")) == "DIGEST_MISMATCH"


def test_a_manifest_for_other_weights_than_the_statement_is_refused(world):
    assert reason_of(world, world.site.sign(world.packed.manifest, b"other weights")) == "DIGEST_MISMATCH"


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda raw: json.dumps(json.loads(raw), indent=1).encode(), "JSON_MALFORMED"),
        (lambda raw: raw.replace(b'"seq":1', b'"seq":1.5'), "JSON_MALFORMED"),
        (lambda raw: raw.replace(b'"seq":1', b'"seq":9007199254740992'), "JSON_MALFORMED"),
        (lambda raw: raw.replace(b'"seq":1', b'"seq":NaN'), "JSON_MALFORMED"),
        (lambda raw: raw.replace(b'"seq":1', b'"seq":1,"seq":1'), "JSON_MALFORMED"),
        (lambda raw: b"[" * 100_000, "JSON_MALFORMED"),
        (lambda raw: raw[:-1], "JSON_MALFORMED"),
        (lambda raw: b"\xff" + raw, "JSON_MALFORMED"),
        (lambda raw: raw.replace(b'"seq":1', b'"seq":0'), "MANIFEST_MALFORMED"),
        (lambda raw: raw.replace(b'"seq":1', b'"seq":true'), "MANIFEST_MALFORMED"),
        (lambda raw: raw.replace(b'"basis"', b'"aextra":1,"basis"'), "MANIFEST_MALFORMED"),
        (lambda raw: raw.replace(b'"site":"site-a"', b'"site":"../a"'), "MANIFEST_MALFORMED"),
        (lambda raw: raw.replace(b'"F16"', b'"I64"'), "MANIFEST_MALFORMED"),
    ],
)
def test_a_signed_manifest_that_breaks_a_rule_is_refused(world, edit, reason):
    raw = edit(world.packed.manifest)
    assert raw != world.packed.manifest
    assert reason_of(world, world.site.sign(raw, world.weights)) == reason
