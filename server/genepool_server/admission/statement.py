"""Checks 3 to 7: who signed what. From raw bytes to a manifest that a known site's key is proved to have signed."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from genepool_protocol.learngene.manifest import (
    BUNDLE_FILE,
    LEARNGENE_FILE,
    MANIFEST_FILE,
    SUBJECT,
    Manifest,
    parse_manifest,
)
from genepool_protocol.trust import digest, envelope
from genepool_protocol.trust.envelope import Bundle, Verified
from genepool_protocol.trust.keys import VerifyingKey
from genepool_protocol.trust.statement import ModelStatement, check_model_statement
from genepool_protocol.wire.errors import InvalidInput, Refused, VerificationError
from genepool_server.records import SiteState

_FILES: Final = (LEARNGENE_FILE, MANIFEST_FILE)


@dataclass(frozen=True, slots=True)
class Signer:
    """A registered key and whose it is."""

    site: str
    state: SiteState
    key: VerifyingKey
    ends: datetime | None = None
    """Until when it is accepted, once it was replaced."""


FindSigner = Callable[[str, str], Signer | None]
"""The registered key for a key id and a hint."""


@dataclass(frozen=True, slots=True)
class SignedClaim:
    """A statement after an active site's key was proved to have signed its bytes."""

    bundle: Bundle
    verified: Verified
    site: str


@dataclass(frozen=True, slots=True)
class Claim:
    """What a site states of its learngene: every member was signed.

    Attributes:
        bundle: model.sig.
        verified: its payload and key.
        site: owner of the key.
        statement: which files were signed.
        manifest: parsed from `raw`.
        raw: manifest.json.
    """

    bundle: Bundle
    verified: Verified
    site: str
    statement: ModelStatement
    manifest: Manifest
    raw: bytes

    @property
    def contribution_id(self) -> str:
        """Names the contribution, and its upload, everywhere."""
        return self.statement.payload_sha256


def check(bundle: bytes, manifest: bytes, find: FindSigner, now: datetime) -> Claim:
    """Checks 3 to 7.

    Args:
        bundle: model.sig.
        manifest: manifest.json.
        find: looks a key up.
        now: the time.

    Raises:
        InvalidInput: JSON_MALFORMED, BUNDLE_MALFORMED, STATEMENT_MALFORMED, DIGEST_MISMATCH or MANIFEST_MALFORMED.
        VerificationError: KEY_UNKNOWN or SIGNATURE_INVALID.
        Refused: SITE_NOT_ACTIVE or KEY_REVOKED.
    """
    parsed = envelope.parse(bundle)  # 3
    signer = select_signer(parsed, find, now)
    return check_manifest(check_signature(parsed, signer), manifest)


def select_signer(bundle: Bundle, find: FindSigner, now: datetime) -> Signer:
    """Check 4: the bundle names a key that an active site has registered. Selecting is no evidence.

    Raises:
        VerificationError: KEY_UNKNOWN.
        Refused: SITE_NOT_ACTIVE or KEY_REVOKED.
    """
    signer = find(bundle.keyid, bundle.hint)
    if signer is None:
        raise VerificationError(
            "KEY_UNKNOWN",
            "no site of this pool has registered the key that the bundle (model.sig) names",
            "enrol first",
        )
    require_active(signer.site, signer.state)
    if signer.ends is not None and now > signer.ends:
        raise Refused("KEY_REVOKED", f"the site {signer.site} has replaced this key", "sign with the new one")
    return signer


def require_active(site: str, state: SiteState) -> None:
    """Refuse a site that may not contribute.

    Raises:
        Refused: SITE_NOT_ACTIVE or KEY_REVOKED.
    """
    if state == "REVOKED":
        raise Refused("KEY_REVOKED", f"the site {site} was revoked and its key with it", "ask the pool's operator")
    if state != "ACTIVE":
        raise Refused(
            "SITE_NOT_ACTIVE", f"the site {site} is {state.lower()} and cannot contribute", "ask the pool's operator"
        )


def check_signature(bundle: Bundle, signer: Signer) -> SignedClaim:
    """Check 5: the key signed the payload.

    Raises:
        VerificationError: SIGNATURE_INVALID.
    """
    return SignedClaim(bundle, envelope.verify(bundle, signer.key), signer.site)


def check_manifest(signed: SignedClaim, raw: bytes) -> Claim:
    """Checks 6 and 7: the statement says exactly what one over the two files says, and this is the manifest it names.

    Raises:
        InvalidInput: JSON_MALFORMED, STATEMENT_MALFORMED, DIGEST_MISMATCH or MANIFEST_MALFORMED.
    """
    stated = check_model_statement(signed.verified, SUBJECT, _FILES, ignore=[BUNDLE_FILE])
    if digest.sha256_hex(raw) != stated.digests[MANIFEST_FILE]:
        raise InvalidInput(
            "DIGEST_MISMATCH", "the manifest is not the one that was signed", "send manifest.json as it was signed"
        )
    manifest = parse_manifest(raw)
    if manifest.file.sha256 != stated.digests[LEARNGENE_FILE]:
        raise InvalidInput(
            "DIGEST_MISMATCH",
            "the manifest and the signed statement name different weights",
            "pack the learngene again",
        )
    return Claim(signed.bundle, signed.verified, signed.site, stated, manifest, raw)
