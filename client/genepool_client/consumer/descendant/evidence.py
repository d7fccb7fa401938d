"""Step (5) of verification: the receipt of every learngene that a lineage names."""

from genepool_protocol.learngene import descendant, manifest
from genepool_protocol.learngene.descendant import Dependency, Lineage, ReceiptEntry
from genepool_protocol.trust import digest, envelope, receipt
from genepool_protocol.trust.checkpoint import Checkpoint
from genepool_protocol.trust.encoding import unb64
from genepool_protocol.trust.keys import VerifyingKey
from genepool_protocol.trust.statement import check_model_statement
from genepool_protocol.trust.terms import AnyLog
from genepool_protocol.wire.errors import InvalidInput, VerificationError


def check_receipts(raw: bytes, lineage: Lineage, log: AnyLog) -> tuple[Checkpoint, ...]:
    """Check that receipts.json proves every dependency, in the lineage's order, and nothing else.

    Args:
        raw: bytes of receipts.json.
        lineage: the parsed provenance.
        log: the trusted keys of the log.

    Returns:
        The checkpoint of each receipt.

    Raises:
        VerificationError: LINEAGE_INVALID; SIGNATURE_INVALID, a site did not sign; PROOF_INVALID or CHECKPOINT_INVALID,
            the log does not hold it. The sentence names the contribution.
    """
    try:
        entries = descendant.parse_receipts(raw).receipts
    except InvalidInput as exc:
        raise _bad("receipts.json", exc.message) from exc
    named = [item.contribution_id for item in lineage.dependencies]
    if [entry.contribution_id for entry in entries] != named:
        raise _bad("receipts.json", "it is not about the learngenes of the lineage, in their order")
    checkpoints = []
    for entry, item in zip(entries, lineage.dependencies, strict=True):
        who = f"the receipt of {item.site}'s {item.contribution_id[:16]}"
        try:
            checkpoints.append(_check(entry, item, lineage, log))
        except InvalidInput as exc:
            raise _bad(who, exc.message) from exc
        except VerificationError as exc:
            raise VerificationError(exc.reason, f"{who}: {exc.message}", "do not use the descendant") from exc
    return tuple(checkpoints)


def _check(entry: ReceiptEntry, item: Dependency, lineage: Lineage, log: AnyLog) -> Checkpoint:
    bundle = envelope.parse(unb64(entry.receipt, "receipt"))
    verified = envelope.verify(bundle, VerifyingKey.from_pem(entry.site_key_pem))
    names = (manifest.LEARNGENE_FILE, manifest.MANIFEST_FILE)
    stated = check_model_statement(verified, manifest.SUBJECT, names, ignore=(manifest.BUNDLE_FILE,))
    logged = receipt.verify(bundle, verified, log)
    raw = unb64(entry.manifest, "manifest")
    signed = manifest.parse_manifest(raw)
    rules = {
        "it is of another contribution": stated.payload_sha256 == item.contribution_id,
        "the site signed another manifest": stated.digests[manifest.MANIFEST_FILE] == digest.sha256_hex(raw),
        "the site signed another learngene": stated.digests[manifest.LEARNGENE_FILE] == item.sha256,
        "its manifest describes another learngene": signed.file.sha256 == item.sha256,
        "its manifest names another site": signed.site == item.site,
        "its manifest names another licence": signed.license == item.license,
        "its manifest is for another pool": signed.pool == lineage.origin == log.name,
        "its manifest is for another blueprint": signed.blueprint == f"sha256:{lineage.blueprint}",
        "the log holds it at another index": logged.index == item.log_index,
    }
    for why, holds in rules.items():
        if not holds:
            raise InvalidInput("STATEMENT_MALFORMED", why)
    return logged.checkpoint


def _bad(what: str, why: str) -> VerificationError:
    return VerificationError(
        "LINEAGE_INVALID", f"the lineage does not hold: {what}: {why}", "do not use the descendant"
    )
