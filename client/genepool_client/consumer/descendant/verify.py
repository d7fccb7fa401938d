"""Is this folder the descendant that the pool signed, made from what its lineage says? Offline, against trusted keys.

  (1) the folder holds exactly the signed files, model.sig and at most a head; plain files, no links
  (2) model.sig is a bundle that a release key of the pool signed, one that nobody else has
  (3) its statement names exactly these files, and every file has the digest that it states
  (4) provenance, blueprint and config are in the one form they can have, and speak of this model, this pool and a size
      that the blueprint has
  (5) each learngene of the lineage has its receipt: about these weights, signed by its site, held by the log while the
      release key was the pool's
  (6) model.safetensors holds exactly the tensors of its size, all finite
  (7) a head, if there is one, fits

What it does not say: that the weights are good for a task, or that the pool added up the learngenes (`rebuild` does).
The caller decides whether it pinned the right root.
"""

from dataclasses import dataclass
from pathlib import Path

from genepool_client.consumer.descendant import head_file
from genepool_client.consumer.descendant.evidence import check_receipts
from genepool_client.consumer.descendant.folder import (
    Scan,
    check_listing,
    check_tensors,
    read_small,
    scan,
    tampered,
)
from genepool_protocol.learngene import descendant
from genepool_protocol.learngene.blueprint import Blueprint, parse_blueprint
from genepool_protocol.learngene.descendant import Lineage
from genepool_protocol.learngene.manifest import BUNDLE_FILE
from genepool_protocol.trust import digest, envelope
from genepool_protocol.trust.checkpoint import Checkpoint
from genepool_protocol.trust.envelope import Bundle, Verified
from genepool_protocol.trust.statement import ModelStatement, check_model_statement
from genepool_protocol.trust.terms import KeySpan, StatementKeys
from genepool_protocol.trust.trusted import Trusted
from genepool_protocol.wire.errors import InvalidInput, Refused, VerificationError
from genepool_protocol.wire.limits import LIMITS


@dataclass(frozen=True, slots=True)
class Descendant:
    """A folder that passed every step of `verify`; made there only.

    Attributes:
        folder: where it lies.
        blueprint: the family.
        lineage: what it was made from, with the digest of the very bytes that were checked.
        keyid: of the release key that signed it.
        classes: names of the head's classes; empty when there is no head.
        heads: the log's checkpoint in each receipt, in the order of the lineage.
    """

    folder: Path
    blueprint: Blueprint
    lineage: Lineage
    keyid: str
    classes: tuple[str, ...]
    heads: tuple[Checkpoint, ...]

    def __str__(self) -> str:
        count = len(self.lineage.dependencies)
        parents = f"{count} learngene{'' if count == 1 else 's'}, each signed by its site and held by the log"
        return (
            f"verified: descendant {self.lineage.size} of {self.blueprint.name} is what {self.lineage.origin} signed "
            f"(key {self.keyid[:16]}), made from {parents if count else 'the seed alone'}"
        )


def verify(folder: Path, trusted: Trusted) -> Descendant:
    """The folder as a verified descendant.

    Args:
        folder: what `genepool descend` wrote, or a copy of it.
        trusted: what is believed of the pool that it must come from.

    Raises:
        InvalidInput: PATH_MISSING, there is no such folder.
        VerificationError: FOLDER_TAMPERED, KEY_UNKNOWN, SIGNATURE_INVALID, LINEAGE_INVALID, PROOF_INVALID or
            CHECKPOINT_INVALID.
        Refused: KEY_REVOKED, somebody else has the release key that signed it.
    """
    has_head = check_listing(folder)  # (1)
    span, signed = check_signature(folder, trusted.release)  # (2)
    small, model = _check_digests(folder, _statement(signed))  # (3)
    blueprint, lineage = _check_lineage(small, model, trusted.origin)  # (4)
    heads = check_receipts(small[descendant.RECEIPTS_FILE], lineage, trusted.log)  # (5)
    if span.end is not None and any(head.size > span.end for head in heads):
        raise _bad("it was signed with a release key that had been replaced by then")
    try:  # (6)
        check_tensors(model, descendant.layout(blueprint, lineage.size), descendant.MODEL_FILE)
    except InvalidInput as exc:
        raise tampered(
            f"{descendant.MODEL_FILE} is not a descendant's: {exc.message}", "tell the pool's operator"
        ) from exc
    width = blueprint.width(lineage.heads)
    classes = head_file.read(folder, width).classes if has_head else ()  # (7)
    return Descendant(folder, blueprint, lineage, signed.key.keyid, classes, heads)


def read_bundle(folder: Path) -> Bundle:
    """The bundle of a folder. No signature is checked.

    Raises:
        VerificationError: FOLDER_TAMPERED.
    """
    try:
        return envelope.parse(read_small(folder / BUNDLE_FILE, LIMITS.bundle_bytes))
    except InvalidInput as exc:
        raise tampered(f"{BUNDLE_FILE} is damaged: {exc.message}") from exc


def check_signature(folder: Path, release: StatementKeys) -> tuple[KeySpan, Verified]:
    """Step (2): the bundle, signed by one of the keys; its unsigned selectors must name that key, too.

    Raises:
        VerificationError: FOLDER_TAMPERED, KEY_UNKNOWN or SIGNATURE_INVALID.
        Refused: KEY_REVOKED.
    """
    bundle = read_bundle(folder)
    span = release.find(bundle.keyid)
    if span is None or bundle.hint != span.key.hint:
        raise VerificationError(
            "KEY_UNKNOWN",
            f"{BUNDLE_FILE} names the key {bundle.keyid[:16] or '(none)'}, which is no release key of the pool",
            "check that the folder comes from the pool of these anchors (pool.json); a key that is new is known after "
            "any command that asks the pool, for instance with --online",
        )
    if span.compromised:
        raise Refused(
            "KEY_REVOKED",
            f"somebody else may have signed {folder}: the pool's release key {bundle.keyid[:16]} was stolen",
            "descend anew",
        )
    if bundle.tlog is not None:
        raise tampered(f"{BUNDLE_FILE} holds a log entry, which a descendant's bundle does not have")
    return span, envelope.verify(bundle, span.key)


def _statement(signed: Verified) -> ModelStatement:
    try:
        return check_model_statement(signed, descendant.SUBJECT, descendant.SIGNED, ignore=descendant.IGNORED)
    except InvalidInput as exc:
        raise VerificationError(
            "LINEAGE_INVALID", f"what the pool signed is no descendant: {exc.message}", "tell the pool's operator"
        ) from exc


def _check_digests(folder: Path, statement: ModelStatement) -> tuple[dict[str, bytes], Scan]:
    small = {name: read_small(folder / name) for name in descendant.SIGNED if name != descendant.MODEL_FILE}
    model = scan(folder / descendant.MODEL_FILE)
    digests = {name: digest.sha256_hex(raw) for name, raw in small.items()} | {descendant.MODEL_FILE: model.sha256}
    for name, sha256 in digests.items():
        if sha256 != statement.digests[name]:
            raise tampered(f"{name} is not the file that the pool signed")
    return small, model


def _check_lineage(small: dict[str, bytes], model: Scan, origin: str) -> tuple[Blueprint, Lineage]:
    try:
        lineage = descendant.parse_provenance(small[descendant.PROVENANCE_FILE])
        blueprint = parse_blueprint(small[descendant.BLUEPRINT_FILE])
        blueprint.check(lineage.size)
    except InvalidInput as exc:
        raise _bad(exc.message) from exc
    names = [item.contribution_id for item in lineage.dependencies]
    rules = {
        "it is about another model.safetensors": lineage.model == model.sha256,
        f"it names the pool {lineage.origin!r}, the trusted one is {origin!r}": lineage.origin == origin,
        "it names another blueprint": lineage.blueprint == blueprint.sha256,
        "it names another seed than the blueprint": f"sha256:{lineage.seed}" == blueprint.seed.sha256,
        "its learngenes are not sorted, or too many": names == sorted(set(names)) and len(names) <= LIMITS.members,
        "a weight is zero or too large": all(
            0 < abs(item.milli) <= LIMITS.weight_milli for item in lineage.dependencies
        ),
        "config.json describes another net": (
            descendant.is_config(small[descendant.CONFIG_FILE], blueprint, lineage.size)
        ),
    }
    for why, holds in rules.items():
        if not holds:
            raise _bad(why)
    return blueprint, lineage


def _bad(why: str) -> VerificationError:
    return VerificationError("LINEAGE_INVALID", f"the lineage does not hold: {why}", "tell the pool's operator")
