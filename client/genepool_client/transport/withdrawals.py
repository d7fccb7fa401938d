"""The log's proof that a contribution was withdrawn, checked: what a site keeps and what a consumer believes."""

from collections.abc import Iterable

from genepool_protocol.trust import envelope, events, receipt
from genepool_protocol.trust.events import Withdrawal
from genepool_protocol.trust.keys import VerifyingKey
from genepool_protocol.trust.receipt import Logged
from genepool_protocol.trust.trusted import Trusted
from genepool_protocol.wire.errors import VerificationError


def proved(raw: bytes, contribution_id: str, keys: Iterable[VerifyingKey], trusted: Trusted) -> Logged:
    """Check the receipt of a withdrawal.

    Args:
        raw: bundle with its log entry.
        contribution_id: what it must be about.
        keys: of the contribution's site; its operator may have signed, too.
        trusted: of the pool.

    Raises:
        VerificationError: KEY_UNKNOWN, SIGNATURE_INVALID, CHECKPOINT_INVALID; PROOF_INVALID, it is of something else.
        InvalidInput: JSON_MALFORMED, BUNDLE_MALFORMED, STATEMENT_MALFORMED.
    """
    bundle = envelope.parse(raw)
    known = {key.keyid: key for key in (*keys, *(span.key for span in trusted.operator.spans))}
    if bundle.keyid not in known:
        raise VerificationError(
            "KEY_UNKNOWN", "the proof of the withdrawal is by neither its site nor the pool", "ask the pool's operator"
        )
    verified = envelope.verify(bundle, known[bundle.keyid])
    event = events.parse(verified.payload)
    if not isinstance(event, Withdrawal) or (event.pool, event.contribution_id) != (trusted.origin, contribution_id):
        raise VerificationError(
            "PROOF_INVALID", "the pool's proof is of something else than this withdrawal", "ask the pool's operator"
        )
    logged = receipt.verify(bundle, verified, trusted.log)
    if trusted.operator.find(bundle.keyid) and not trusted.operator.speaks(bundle.keyid, logged.index):
        raise VerificationError(
            "KEY_UNKNOWN", "the operator signed the withdrawal with a key that was replaced", "ask the pool's operator"
        )
    return logged
