"""Leaves of every kind, signed by whom the test likes: what an honest or a lying log would hold."""

from genepool_protocol.learngene.manifest import BUNDLE_FILE, LEARNGENE_FILE, MANIFEST_FILE, SUBJECT
from genepool_protocol.trust import digest, envelope, events, receipt
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.trust.statement import model_statement

ORIGIN = "pool.test/log"
TIME = "2026-07-01T12:00:00Z"


def leaf(key: SigningKey, payload: bytes) -> tuple[bytes, bytes]:
    """Body and statement of a leaf that the key signed."""
    verified = envelope.check(payload, key.sign(envelope.pae(payload)), key.public)
    return receipt.leaf(verified), payload


def contribution(weights: bytes, note: bytes = b"") -> bytes:
    """The statement of a contribution of these weights; `note` tells two of the same weights apart."""
    digests = {LEARNGENE_FILE: digest.sha256_hex(weights), MANIFEST_FILE: digest.sha256_hex(weights + note)}
    return model_statement(SUBJECT, digests, ignore=[BUNDLE_FILE])


def ids(weights: bytes, note: bytes = b"") -> dict[str, str]:
    """What events name a contribution by."""
    return {"contribution_id": digest.sha256_hex(contribution(weights, note)), "sha256": digest.sha256_hex(weights)}


def site(name: str, event: str, key: SigningKey, **changes) -> bytes:
    values = {"pool": ORIGIN, "time": TIME, "site": name, "event": event, "keyid": key.public.keyid} | changes
    return events.SiteEvent(**values).payload()


def decision(weights: bytes, *, passed: bool = True, **changes) -> bytes:
    values = {"pool": ORIGIN, "time": TIME, "passed": passed, "policy": "automatic", **ids(weights)} | changes
    return events.Decision(**values).payload()


def withdrawal(weights: bytes, **changes) -> bytes:
    return events.Withdrawal(**({"pool": ORIGIN, "time": TIME, **ids(weights)} | changes)).payload()


def erasure(weights: bytes, **changes) -> bytes:
    return events.Erasure(**({"pool": ORIGIN, "time": TIME, **ids(weights)} | changes)).payload()
