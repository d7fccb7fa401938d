"""Receipts: the proof that the log holds a statement, as `tlogEntries[0]` of the very bundle that it proves.

A leaf is the body of a Rekor v2 entry `dsse 0.0.2` in RFC 8785 bytes: hashes and keys only, so that erasing a
contribution never touches the log.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from genepool_protocol.trust import checkpoint as heads
from genepool_protocol.trust import envelope, merkle, strict_json
from genepool_protocol.trust.checkpoint import Checkpoint
from genepool_protocol.trust.encoding import b64, unb64
from genepool_protocol.trust.envelope import Bundle, Verified
from genepool_protocol.trust.keys import VerifyingKey
from genepool_protocol.trust.terms import AnyLog
from genepool_protocol.wire.errors import InvalidInput, VerificationError

_KIND: Final = {"kind": "dsse", "version": "0.0.2"}


@dataclass(frozen=True, slots=True)
class Logged:
    """A verified statement that the log is proved to hold at `index`, under `checkpoint`."""

    verified: Verified
    index: int
    checkpoint: Checkpoint


def leaf(verified: Verified) -> bytes:
    """The log's leaf for a verified statement."""
    signature = {
        "content": b64(verified.signature),
        "verifier": {
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            "publicKey": {"rawBytes": b64(verified.key.spki)},
        },
    }
    hashed = {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(verified.payload).digest())}
    spec = {"dsseV002": {"payloadHash": hashed, "signatures": [signature]}}
    return strict_json.canonical({"apiVersion": "0.0.2", "kind": "dsse", "spec": spec})


def open_leaf(body: bytes, payload: bytes) -> Verified:
    """The statement that a leaf stands for, after the signature in the leaf was checked over it.

    Whose key that is, the caller must know.

    Args:
        body: the leaf.
        payload: the signed statement, from wherever.

    Raises:
        InvalidInput: JSON_MALFORMED, BUNDLE_MALFORMED or KEY_MALFORMED.
        VerificationError: SIGNATURE_INVALID; PROOF_INVALID, the leaf is of another statement.
    """
    value = strict_json.loads_canonical(body, max_bytes=64 << 10, what="log leaf")
    try:
        (signature,) = value["spec"]["dsseV002"]["signatures"]
        content, raw = signature["content"], signature["verifier"]["publicKey"]["rawBytes"]
    except (KeyError, TypeError, ValueError) as exc:
        raise InvalidInput("BUNDLE_MALFORMED", "a log leaf is not of kind dsse 0.0.2") from exc
    key = VerifyingKey.from_der(unb64(raw, "leaf key"))
    verified = envelope.check(payload, unb64(content, "leaf signature"), key)
    if leaf(verified) != body:
        raise VerificationError("PROOF_INVALID", "a leaf of the log is of another statement than it comes with")
    return verified


def make(bundle: Bundle, body: bytes, index: int, proof: Sequence[bytes], head: Checkpoint) -> bytes:
    """The receipt: the bundle with its log entry.

    Args:
        bundle: what was logged.
        body: its leaf.
        index: where it stands.
        proof: inclusion proof under `head`.
        head: a checkpoint of the log with more than `index` leaves.
    """
    return envelope.with_receipt(bundle, _entry(body, index, proof, head))


def _entry(body: bytes, index: int, proof: Sequence[bytes], head: Checkpoint) -> dict[str, Any]:
    return {
        "logIndex": str(index),
        "logId": {"keyId": b64(head.key.log_id)},
        "kindVersion": dict(_KIND),
        "integratedTime": "0",
        "inclusionProof": {
            "logIndex": str(index),
            "rootHash": b64(head.root),
            "treeSize": str(head.size),
            "hashes": [b64(sibling) for sibling in proof],
            "checkpoint": {"envelope": head.note},
        },
        "canonicalizedBody": b64(body),
    }


def verify(bundle: Bundle, verified: Verified, log: AnyLog) -> Logged:
    """Check that the log holds this statement.

    (1) The entry has the form that `make` gives it, (2) the checkpoint is the trusted log's, (3) the leaf is that of
    this statement and key, (4) the proof leads from the leaf to the checkpoint's root, (5) the entry says nothing else.

    Args:
        bundle: a parsed receipt.
        verified: the same bundle after `envelope.verify`.
        log: the trusted keys of the log.

    Raises:
        VerificationError: PROOF_INVALID or CHECKPOINT_INVALID.
        InvalidInput: BUNDLE_MALFORMED.
    """
    entry = bundle.tlog
    if entry is None:
        raise _bad("the bundle is not a receipt: it has no log entry")
    try:
        index, proof = _number(entry["logIndex"]), entry["inclusionProof"]
        body, hashes = unb64(entry["canonicalizedBody"], "log body"), [unb64(h, "proof hash") for h in proof["hashes"]]
        text, size, root = proof["checkpoint"]["envelope"], proof["treeSize"], proof["rootHash"]
    except (KeyError, TypeError) as exc:
        raise InvalidInput("BUNDLE_MALFORMED", "the receipt's log entry lacks a member") from exc
    if not isinstance(text, str):
        raise InvalidInput("BUNDLE_MALFORMED", "the receipt's checkpoint is not a text")
    head = heads.verify(text, log)
    if (size, root) != (str(head.size), b64(head.root)):
        raise _bad("the receipt's proof and checkpoint speak of different trees")
    if body != leaf(verified):
        raise _bad("the receipt proves another statement than the one it comes with")
    merkle.verify_inclusion(merkle.leaf_hash(body), index, head.size, hashes, head.root)
    if entry != _entry(body, index, hashes, head):
        raise _bad("the receipt is for another log or another kind of entry, or says more than a receipt does")
    return Logged(verified, index, head)


def _bad(sentence: str) -> VerificationError:
    return VerificationError("PROOF_INVALID", sentence, "fetch the receipt again")


def _number(text: Any) -> int:
    canonical = isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= 15
    if not canonical or str(int(text)) != text:
        raise InvalidInput("BUNDLE_MALFORMED", "the receipt's log entry holds a number that is not canonical")
    return int(text)


def observed_root(head: Checkpoint | None) -> tuple[int, str]:
    """Size and base64 root of a checkpoint, as a manifest's `observed` states them; (0, "") for none."""
    return (0, "") if head is None else (head.size, base64.b64encode(head.root).decode())
