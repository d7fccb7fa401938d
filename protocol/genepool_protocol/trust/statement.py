"""The signed statement: an in-toto Statement v1 with the OpenSSF model-signing predicate v1.0 over a list of files."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from genepool_protocol.trust import digest, strict_json
from genepool_protocol.trust.envelope import Verified
from genepool_protocol.wire.errors import InvalidInput
from genepool_protocol.wire.limits import LIMITS

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
MODEL_PREDICATE: Final = "https://model_signing/signature/v1.0"


@dataclass(frozen=True, slots=True)
class ModelStatement:
    """Which files were signed, taken from verified bytes.

    Attributes:
        payload_sha256: hex, of the signed bytes: names the statement everywhere.
        digests: file name -> hex SHA-256.
    """

    payload_sha256: str
    digests: Mapping[str, str]


def model_statement(subject: str, digests: Mapping[str, str], *, ignore: Sequence[str]) -> bytes:
    """RFC 8785 bytes of a statement over files.

    Args:
        subject: name of the subject.
        digests: file name -> hex SHA-256.
        ignore: file names that may lie in the same folder without being signed.
    """
    return strict_json.canonical(_value(subject, digests, ignore))


def _value(subject: str, digests: Mapping[str, str], ignore: Sequence[str]) -> dict[str, Any]:
    names = sorted(digests)
    whole = hashlib.sha256(b"".join(bytes.fromhex(digests[name]) for name in names)).hexdigest()
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": subject, "digest": {"sha256": whole}}],
        "predicateType": MODEL_PREDICATE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": sorted(ignore),
            },
            "resources": [{"name": name, "algorithm": "sha256", "digest": digests[name]} for name in names],
        },
    }


def check_model_statement(
    verified: Verified, subject: str, names: Sequence[str], *, ignore: Sequence[str]
) -> ModelStatement:
    """The files of a verified payload, which must say exactly what `model_statement` says for these names.

    Raises:
        InvalidInput: JSON_MALFORMED or STATEMENT_MALFORMED.
    """
    value = strict_json.loads(verified.payload, max_bytes=LIMITS.bundle_bytes, what="statement")
    digests = _digests(value)
    if sorted(digests) != sorted(names):
        raise _bad(f"it must sign exactly {', '.join(sorted(names))}")
    if strict_json.canonical(value) != strict_json.canonical(_value(subject, digests, ignore)):  # 0 is not false
        raise _bad("a member differs from what a statement over these files says")
    return ModelStatement(digest.sha256_hex(verified.payload), digests)


def _digests(value: Any) -> dict[str, str]:
    try:
        pairs = [(entry["name"], entry["digest"]) for entry in value["predicate"]["resources"]]
        digests = dict(pairs)
    except (KeyError, TypeError, IndexError) as exc:
        raise _bad("it has no list of resources") from exc
    texts = all(isinstance(text, str) for pair in pairs for text in pair)
    if len(digests) != len(pairs) or not texts or not all(digest.is_sha256_hex(sha256) for sha256 in digests.values()):
        raise _bad("a resource appears twice, or has no name or no hex SHA-256")
    return digests


def _bad(why: str) -> InvalidInput:
    return InvalidInput("STATEMENT_MALFORMED", f"the signed statement is malformed: {why}", "sign again with genepool")
