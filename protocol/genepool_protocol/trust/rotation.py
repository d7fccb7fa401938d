"""Replacing a site's signing key: one statement, signed by the old key and by the new one.

An in-toto Statement v1 whose subject is the new key; either signature alone proves nothing: the old one says that the
site wants it, the new one that the site has it.
"""

from dataclasses import dataclass
from typing import Any

from genepool_protocol.trust import envelope, strict_json
from genepool_protocol.trust.keys import SigningKey, VerifyingKey
from genepool_protocol.trust.statement import STATEMENT_TYPE
from genepool_protocol.wire.errors import InvalidInput
from genepool_protocol.wire.versions import ROTATION_PREDICATE

SUBJECT = "signing-key"


@dataclass(frozen=True, slots=True)
class Rotation:
    """A replacement that both keys are proved to have signed."""

    old: VerifyingKey
    new: VerifyingKey


def sign(old: SigningKey, new: SigningKey, origin: str, site: str) -> tuple[bytes, bytes]:
    """The same statement in two bundles: by the old key, and by the new one."""
    payload = strict_json.canonical(_statement(old.public, new.public, origin, site))
    return envelope.sign_statement(old, payload), envelope.sign_statement(new, payload)


def verify(by_old: bytes, by_new: bytes, old: VerifyingKey, origin: str, site: str) -> Rotation:
    """Check both bundles against the site's current key.

    Args:
        by_old: signed by the current key.
        by_new: signed by the key that takes its place, which the statement holds.
        old: the current key.
        origin: name of the pool.
        site: whose keys they are.

    Raises:
        InvalidInput: JSON_MALFORMED, BUNDLE_MALFORMED, KEY_MALFORMED; STATEMENT_MALFORMED, it says something else.
        VerificationError: SIGNATURE_INVALID.
    """
    first, second = envelope.parse(by_old), envelope.parse(by_new)
    payload = envelope.verify(first, old).payload
    new = _new_key(payload)
    envelope.verify(second, new)
    expected = strict_json.canonical(_statement(old, new, origin, site))
    if payload != expected or second.payload != expected:
        raise _bad("it is not the one over these two keys, this site and this pool")
    return Rotation(old, new)


def _statement(old: VerifyingKey, new: VerifyingKey, origin: str, site: str) -> dict[str, Any]:
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": SUBJECT, "digest": {"sha256": new.keyid}}],
        "predicateType": ROTATION_PREDICATE,
        "predicate": {"pool": origin, "site": site, "old": old.keyid, "key": new.pem},
    }


def _new_key(payload: bytes) -> VerifyingKey:
    value = strict_json.loads_canonical(payload, max_bytes=1 << 14, what="statement of a key rotation")
    try:
        pem = value["predicate"]["key"]
    except (KeyError, TypeError) as exc:
        raise _bad("it holds no new key") from exc
    if not isinstance(pem, str):
        raise _bad("its new key is no text")
    return VerifyingKey.from_pem(pem)


def _bad(why: str) -> InvalidInput:
    return InvalidInput("STATEMENT_MALFORMED", f"the statement of a key rotation is malformed: {why}", "rotate again")
