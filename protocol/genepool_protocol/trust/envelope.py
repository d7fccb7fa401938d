"""model.sig: a Sigstore bundle v0.3 with one DSSE envelope (DSSE v1 protocol; OpenSSF model signing v1.0).

`parse` checks the shape and nothing else; only `verify` checks a signature.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from genepool_protocol.trust import strict_json
from genepool_protocol.trust.encoding import b64, unb64
from genepool_protocol.trust.keys import SigningKey, VerifyingKey
from genepool_protocol.wire.errors import InvalidInput
from genepool_protocol.wire.limits import LIMITS

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose shape was checked; nothing says yet who signed it.

    Attributes:
        payload: the signed statement's bytes.
        signature: ECDSA in DER.
        keyid: hex, selects a key; empty when the signer gave none.
        hint: hex, selects a key by its PEM text.
        tlog: the log entry of a receipt, or None for a bundle that was not logged.
    """

    payload: bytes
    signature: bytes
    keyid: str
    hint: str
    tlog: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Verified:
    """A payload after its signature was checked, with the key that made it."""

    payload: bytes
    signature: bytes
    key: VerifyingKey


def pae(payload: bytes) -> bytes:
    """What is signed: DSSE's pre-authentication encoding; lengths count bytes."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def sign_statement(key: SigningKey, payload: bytes) -> bytes:
    """A bundle, as JSON bytes, over an in-toto statement."""
    return _encode(payload, key.sign(pae(payload)), key.public.keyid, key.public.hint, None)


def with_receipt(bundle: Bundle, entry: dict[str, Any]) -> bytes:
    """The same bundle with its log entry: the receipt."""
    return _encode(bundle.payload, bundle.signature, bundle.keyid, bundle.hint, entry)


def _encode(payload: bytes, signature: bytes, keyid: str, hint: str, entry: dict[str, Any] | None) -> bytes:
    value = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": [] if entry is None else [entry]},
        "dsseEnvelope": {
            "payload": b64(payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": b64(signature), "keyid": keyid}],
        },
    }
    return json.dumps(value, separators=(",", ":")).encode()


def parse(raw: bytes) -> Bundle:
    """The parts of a bundle. No signature is checked.

    Raises:
        InvalidInput: JSON_MALFORMED or BUNDLE_MALFORMED.
    """
    value = strict_json.loads(raw, max_bytes=LIMITS.bundle_bytes, what="bundle (model.sig)")
    top = _members(value, "bundle", {"mediaType", "verificationMaterial", "dsseEnvelope"})
    if top["mediaType"] != MEDIA_TYPE:
        raise _bad(f"mediaType is not {MEDIA_TYPE}")
    material = _members(top["verificationMaterial"], "verificationMaterial", {"publicKey"}, {"tlogEntries"})
    key = _members(material["publicKey"], "publicKey", {"hint"})
    dsse = _members(top["dsseEnvelope"], "dsseEnvelope", {"payload", "payloadType", "signatures"})
    if dsse["payloadType"] != PAYLOAD_TYPE:
        raise _bad(f"payloadType is not {PAYLOAD_TYPE}")
    if not isinstance(dsse["signatures"], list) or len(dsse["signatures"]) != 1:
        raise _bad("there must be exactly one signature")
    signature = _members(dsse["signatures"][0], "signature", {"sig"}, {"keyid"})
    return Bundle(
        payload=unb64(dsse["payload"], "payload"),
        signature=unb64(signature["sig"], "sig"),
        keyid=_text(signature.get("keyid", ""), "keyid"),
        hint=_text(key["hint"], "hint"),
        tlog=_entry(material.get("tlogEntries", [])),
    )


def verify(bundle: Bundle, key: VerifyingKey) -> Verified:
    """Check that the key signed the bundle's payload; what the payload says is not looked at.

    Raises:
        VerificationError: SIGNATURE_INVALID.
    """
    return check(bundle.payload, bundle.signature, key)


def check(payload: bytes, signature: bytes, key: VerifyingKey) -> Verified:
    """As `verify`, for a payload and a signature that come without a bundle.

    Raises:
        VerificationError: SIGNATURE_INVALID.
    """
    key.verify(signature, pae(payload))
    return Verified(payload, signature, key)


def _entry(entries: Any) -> dict[str, Any] | None:
    if not isinstance(entries, list) or len(entries) > 1:
        raise _bad("tlogEntries holds more than one entry")
    if entries and not isinstance(entries[0], dict):
        raise _bad("a log entry is not an object")
    return entries[0] if entries else None


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or len(value) > 128:
        raise _bad(f"{what} is not a short text")
    return value


def _members(value: Any, what: str, required: set[str], optional: set[str] = frozenset()) -> dict[str, Any]:  # type: ignore[assignment]
    if not isinstance(value, dict) or not required <= set(value) <= required | optional:
        raise _bad(f"{what} does not have exactly the members {', '.join(sorted(required))}")
    return value


def _bad(why: str) -> InvalidInput:
    return InvalidInput("BUNDLE_MALFORMED", f"the bundle (model.sig) is malformed: {why}", "sign again")
