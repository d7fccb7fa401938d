"""Checks 9 to 11: is the claim for this pool, from this site, fresh, next in the site's chain, and of this log?"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from genepool_protocol.learngene import privacy
from genepool_protocol.learngene.manifest import Manifest
from genepool_protocol.trust.encoding import b64
from genepool_protocol.wire.errors import InvalidInput, Refused, VerificationError
from genepool_server.admission import nonces
from genepool_server.admission.statement import Claim

_ROUNDED: Final = 1e-3
"""Slack for what sites round, relative and absolute."""

ZEROS: Final = "0" * 64
"""Stands for the payload hash before a site's first contribution."""


@dataclass(frozen=True, slots=True)
class ClaimStanding:
    """What the pool knows, at one moment, that a claim is held against.

    Attributes:
        origin: the pool's name.
        nonce_key: authenticates nonces.
        nonce_used: whether a contribution holds this claim's nonce.
        last_seq: of the site's last contribution, or 0.
        last_payload_sha256: of the site's last contribution, or `ZEROS`.
        last_spent: the epsilon that the site claimed there of all its keys together; "0" before the first.
        last_spent_delta: the delta of that; "1" before the first.
        drawn: whether an earlier contribution of the site, in whatever state, stated these images and this noise.
        root: the log's root when it had so many leaves; None when it never had.
    """

    origin: str
    nonce_key: bytes
    nonce_used: bool
    last_seq: int
    last_payload_sha256: str
    last_spent: str
    last_spent_delta: str
    drawn: Callable[[int, str], bool]
    root: Callable[[int], bytes | None]


@dataclass(frozen=True, slots=True)
class Current:
    """A claim that the pool's state admitted at the moment of its `ClaimStanding`."""

    claim: Claim


def check(claim: Claim, standing: ClaimStanding, now: datetime) -> Current:
    """Checks 9 to 11.

    Raises:
        Refused: AUDIENCE_MISMATCH, SITE_MISMATCH, MANIFEST_EXPIRED, NONCE_INVALID, SEQ_GAP, SEQ_CONFLICT,
            PREV_MISMATCH or PRIVACY_SHRINKS.
        InvalidInput: MANIFEST_MALFORMED, not_after is no date.
        VerificationError: LOG_FORK.
    """
    check_audience(claim, standing.origin, now)
    check_chain(claim, standing, now)
    check_spent(claim.manifest, standing)
    check_observed(claim.manifest, standing)
    return Current(claim)


def check_audience(claim: Claim, origin: str, now: datetime) -> None:
    """Check 9: for this pool, by the site that signed, and not too late.

    Raises:
        Refused: AUDIENCE_MISMATCH, SITE_MISMATCH or MANIFEST_EXPIRED.
        InvalidInput: MANIFEST_MALFORMED.
    """
    manifest = claim.manifest
    if manifest.pool != origin:
        raise Refused("AUDIENCE_MISMATCH", f"the manifest is for another pool than {origin}", "sign it for this pool")
    if manifest.site != claim.site:
        raise Refused(
            "SITE_MISMATCH",
            f"the manifest names another site than {claim.site}, whose key signed it",
            "sign with your key",
        )
    try:
        until = datetime.fromisoformat(manifest.not_after)
    except ValueError as exc:
        raise InvalidInput(
            "MANIFEST_MALFORMED", "the manifest is not valid: not_after is no date", "sign again"
        ) from exc
    if now > until:
        raise Refused("MANIFEST_EXPIRED", f"the manifest could be used until {manifest.not_after}", "sign again")


def check_chain(claim: Claim, standing: ClaimStanding, now: datetime) -> None:
    """Check 10: nonce issued to the site and unused, sequence number next, previous payload right.

    Raises:
        Refused: NONCE_INVALID, SEQ_GAP, SEQ_CONFLICT or PREV_MISMATCH.
    """
    manifest, following = claim.manifest, standing.last_seq + 1
    nonces.check(standing.nonce_key, claim.site, manifest.nonce, now)
    if standing.nonce_used:
        raise nonces.invalid("was used before")
    if manifest.seq < following:
        raise Refused(
            "SEQ_CONFLICT",
            f"the site {claim.site} has contributed number {manifest.seq} already, with another statement",
            f"sign it as number {following}",
        )
    if manifest.seq > following:
        raise Refused(
            "SEQ_GAP", f"the next contribution of {claim.site} is number {following}, not {manifest.seq}", "sign again"
        )
    if manifest.prev != standing.last_payload_sha256:
        raise Refused(
            "PREV_MISMATCH", f"the manifest names another predecessor than number {standing.last_seq}", "sign again"
        )


def check_spent(manifest: Manifest, standing: ClaimStanding) -> None:
    """Check 10: what all embeddings of a site cost together never becomes less, whatever became of its contributions.

    Raises:
        Refused: PRIVACY_SHRINKS.
    """
    claimed = manifest.privacy.key.cumulative_epsilon
    if float(claimed) < float(standing.last_spent):
        raise Refused(
            "PRIVACY_SHRINKS",
            f"all embeddings of {manifest.site} cost an epsilon of {standing.last_spent} before, and now {claimed}",
            "restore keys.json, or set key_spent in site.json to what was claimed before",
        )
    check_drawn(manifest, standing)


def check_drawn(manifest: Manifest, standing: ClaimStanding) -> None:
    """Check 10: other images or other noise than the site ever stated are another draw, whose cost was added.

    Raises:
        Refused: PRIVACY_SHRINKS.
    """
    claim, before = manifest.privacy.key, float(standing.last_spent)
    epsilon, delta, total = float(claim.epsilon), float(claim.delta), float(claim.cumulative_epsilon)
    sound = epsilon > 0 and 0 < delta < 1 and 0 < float(standing.last_spent_delta) < 1
    if not (before > 0 and sound) or standing.drawn(manifest.training.images, claim.sigma):
        return
    ratios = privacy.ratio_of(before, float(standing.last_spent_delta)), privacy.ratio_of(epsilon, delta)
    least = privacy.epsilon_of(privacy.composed(ratios), delta)
    if total < least * (1 - _ROUNDED) - _ROUNDED:
        raise Refused(
            "PRIVACY_SHRINKS",
            f"{manifest.site} never stated {manifest.training.images} images and noise of {claim.sigma}: with this "
            f"one all its embeddings cost an epsilon of {least:.4g}, and the manifest says {claim.cumulative_epsilon}",
            "restore keys.json, or set key_spent in site.json to what was claimed before",
        )


def check_observed(manifest: Manifest, standing: ClaimStanding) -> None:
    """Check 11: the checkpoint that the site saw is a prefix of this log.

    Raises:
        VerificationError: LOG_FORK.
    """
    observed = manifest.observed
    root = standing.root(observed.size)
    if observed.root != ("" if root is None or observed.size == 0 else b64(root)) or root is None:
        raise VerificationError(
            "LOG_FORK",
            f"the site {manifest.site} saw a log of {observed.size} leaves that is no prefix of this pool's log",
            "keep both checkpoints as evidence and ask the pool's operator",
        )
