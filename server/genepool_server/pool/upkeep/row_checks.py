"""A contribution's row held against the evidence in it: manifest, receipt, key, leaf and the site's chain."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, get_args

from genepool_protocol.learngene.manifest import BUNDLE_FILE, LEARNGENE_FILE, MANIFEST_FILE, SUBJECT, parse_manifest
from genepool_protocol.trust import digest, envelope, receipt
from genepool_protocol.trust.keys import VerifyingKey
from genepool_protocol.trust.statement import check_model_statement
from genepool_protocol.trust.terms import LogKeys
from genepool_protocol.wire.errors import GenepoolError
from genepool_server.admission.state import ZEROS
from genepool_server.pool.rows import contribution_rows
from genepool_server.records import ContributionState

_STATES: Final = get_args(ContributionState)


@dataclass(slots=True)
class Position:
    """What rows are held against, in the order of the log.

    Attributes:
        origin: the pool's name.
        log: the log's keys.
        keys: site and PEM text by key id.
        chains: sequence number and payload hash of each site's last row so far.
    """

    origin: str
    log: LogKeys
    keys: Mapping[str, tuple[str, str]]
    chains: dict[str, tuple[int, str]] = field(default_factory=dict)


def check_row(position: Position, row: Any, body: bytes) -> Iterator[tuple[str, str]]:
    """(reason, message) of each way in which a row contradicts its evidence.

    Args:
        position: moves on with every row.
        row: of the table `contribution`.
        body: the leaf at the row's index.
    """
    try:
        yield from _evidence(position, row, body)
    except GenepoolError as exc:
        yield exc.reason, exc.message
    if row.state not in _STATES:
        yield "LEDGER_INCONSISTENT", "its state is none"
    seq, last = position.chains.get(row.site, (0, ZEROS))
    position.chains[row.site] = (row.seq, row.contribution_id)
    if row.seq != seq + 1:
        yield "LEDGER_INCONSISTENT", f"number {row.seq} of {row.site} follows number {seq}"
    elif _prev(row) not in (last, None):
        yield "LEDGER_INCONSISTENT", f"its predecessor is not number {seq} of {row.site}"


def _prev(row: Any) -> str | None:
    try:
        return parse_manifest(row.manifest).prev
    except GenepoolError:
        return None  # reported with the evidence


def _evidence(position: Position, row: Any, body: bytes) -> Iterator[tuple[str, str]]:
    owner, pem = position.keys.get(row.keyid, ("", ""))
    if owner != row.site:
        yield "LEDGER_INCONSISTENT", "it names a key that its site has not registered"
        return
    bundle = envelope.parse(row.receipt)
    verified = envelope.verify(bundle, VerifyingKey.from_pem(pem))
    logged = receipt.verify(bundle, verified, position.log)
    stated = check_model_statement(verified, SUBJECT, [LEARNGENE_FILE, MANIFEST_FILE], ignore=[BUNDLE_FILE])
    if logged.index != row.log_index or body != receipt.leaf(verified):
        yield "LEDGER_INCONSISTENT", "the log holds another statement at its index"
    if digest.sha256_hex(row.manifest) != stated.digests[MANIFEST_FILE]:
        yield "DIGEST_MISMATCH", "its manifest is not the one that was signed"
        return
    manifest = parse_manifest(row.manifest)
    if manifest.pool != position.origin or manifest.file.sha256 != stated.digests[LEARNGENE_FILE]:
        yield "LEDGER_INCONSISTENT", "its manifest is for another pool or other weights"
    for name, value in contribution_rows.columns_of(manifest, stated.payload_sha256, row.keyid).items():
        if getattr(row, name) != value:
            yield "LEDGER_INCONSISTENT", f"its {name} is not what was signed"
