"""fsck: everything that a pool's folder says, recomputed from bytes; it reads only, also beside a server.

What the log holds is held against what was signed; rows, states and files against what the log holds.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genepool_protocol.learngene.history import History
from genepool_protocol.trust import checkpoint as heads
from genepool_protocol.trust import envelope, receipt, tiles, witness
from genepool_protocol.trust.keys import VerifyingKey, WitnessVerifier
from genepool_protocol.trust.merkle import Tree, leaf_hash
from genepool_protocol.trust.tiles import Tile
from genepool_protocol.trust.trusted import Signers
from genepool_protocol.wire.errors import GenepoolError, InvalidInput, StorageError, Unavailable
from genepool_server.pool.contributions.sealing import Sealer
from genepool_server.pool.log.published_head import HeadStore, Published
from genepool_server.pool.log.tile_files import TileFiles
from genepool_server.pool.rows import (
    contribution_rows,
    log_rows,
    registry_rows,
    site_rows,
    sketch_rows,
    withdrawal_rows,
)
from genepool_server.pool.store.blobs import Blobs
from genepool_server.pool.store.database import Database
from genepool_server.pool.store.folder import PoolFolder
from genepool_server.pool.store.ledger import Ledger
from genepool_server.pool.store.review_secret import ReviewSecret
from genepool_server.pool.store.storage import HERE, Storage
from genepool_server.pool.upkeep import creation, registry_check
from genepool_server.pool.upkeep.row_checks import Position, check_row
from genepool_server.records import PoolIdentity, Site


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that contradicts itself.

    Attributes:
        where: the file or row.
        reason: a key of the error table.
        message: what is wrong with it.
    """

    where: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class FsckReport:
    """What an examination found.

    Attributes:
        problems: must be empty.
        notes: left-overs that harm nothing, for instance bytes of a commit that was never repeated.
        contributions: how many there are.
        log_size: leaves of the log.
    """

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    contributions: int = 0
    log_size: int = 0


def fsck(folder: Path, storage: Storage = HERE) -> list[Problem]:
    """The problems of a pool; see `examine`."""
    return examine(folder, storage).problems


def examine(folder: Path, storage: Storage = HERE) -> FsckReport:
    """Recompute a pool from its bytes.

    Args:
        folder: of the pool.
        storage: where its ledger and its weights are.

    Raises:
        NotFound: POOL_UNKNOWN.
        Unavailable: STORE_UNAVAILABLE.
        InvalidInput: OPTION_INVALID.
    """
    place = PoolFolder(folder)
    database = storage.database(place)
    place.require(database)
    try:
        published = HeadStore(place.head).read()  # before the ledger, which may grow meanwhile
        with Ledger.look(database) as ledger:
            ledger_rows = _read(ledger, place.signers())
    except Unavailable:
        raise
    except GenepoolError as exc:
        return FsckReport([Problem(database.name, exc.reason, exc.message)])
    problems = [*_settings(place, database, ledger_rows), *_log_problems(ledger_rows, published)]
    history = _replayed(ledger_rows, problems)
    problems += [*_row_problems(ledger_rows, history), *_state_problems(ledger_rows, history)]
    problems += _cosignature_problems(ledger_rows)
    problems += _withdrawal_problems(ledger_rows, history)
    problems += _sketch_problems(place, ledger_rows)
    problems += _tile_problems(TileFiles(place.tiles), ledger_rows, published)
    blobs = storage.store(place)
    wrong = list(_blob_problems(blobs, ledger_rows))
    if wrong:  # beside a server, a blob may have been erased since the ledger was read
        with Ledger.look(database) as ledger, ledger.read() as tx:
            gone = {f"blob {row.sha256[:16]}" for row in contribution_rows.raw(tx) if row.state == "WITHDRAWN"}
        known = {f"blob {row.sha256[:16]}" for row in ledger_rows.rows if row.state == "WITHDRAWN"}
        wrong = [item for item in wrong if item.where not in gone - known]
    problems += wrong
    erased = [row.sha256 for row in ledger_rows.rows if row.contribution_id in ledger_rows.erased]
    for item in Sealer(place.data_keys, blobs).known(erased):
        problems.append(Problem(f"data key {item[:16]}", "BLOB_CORRUPT", "the log says that it was erased"))
    return FsckReport(problems, _notes(blobs, ledger_rows), len(ledger_rows.rows), len(ledger_rows.leaves))


@dataclass(frozen=True, slots=True)
class _Found:
    """The ledger at one moment."""

    identity: PoolIdentity
    signers: Signers
    pages: list[str]
    sites: list[Site]
    keys: list[Any]  # rows of the tables
    tls: list[Any]
    leaves: list[Any]
    checkpoints: dict[int, str]
    rows: list[Any]
    cosignatures: list[Any]
    withdrawals: list[Any]
    sketches: list[Any]

    @property
    def erased(self) -> set[str]:
        """Contributions whose weights are said to be gone."""
        return {row.contribution_id for row in self.withdrawals if row.erased is not None}


def _read(ledger: Ledger, signers: Signers) -> _Found:
    with ledger.read() as tx:
        identity = site_rows.identity(tx)
        return _Found(
            identity,
            signers,
            ledger.problems(tx),
            site_rows.sites(tx),
            site_rows.raw_keys(tx),
            registry_rows.tls_keys(tx),
            log_rows.raw(tx),
            log_rows.checkpoints(tx),
            contribution_rows.raw(tx),
            log_rows.raw_cosignatures(tx),
            withdrawal_rows.raw(tx),
            sketch_rows.raw(tx),
        )


def _settings(place: PoolFolder, database: Database, found: _Found) -> Iterator[Problem]:
    for page in found.pages:
        yield Problem(database.name, "LEDGER_INCONSISTENT", page)
    for part in (lambda: place.log_signer(found.identity, found.signers), lambda: place.pool_keys(found.signers)):
        try:
            part()
        except GenepoolError as exc:
            yield Problem(place.keys.name, exc.reason, exc.message)
    try:
        creation.load_blueprints(place.blueprints)
    except GenepoolError as exc:
        yield Problem(place.blueprints.name, exc.reason, exc.message)
    for row in found.keys:
        try:
            key = VerifyingKey.from_pem(row.pem)
        except GenepoolError as exc:
            yield Problem(f"key {row.keyid[:16]}", exc.reason, exc.message)
        else:
            if (key.keyid, key.hint, key.pem) != (row.keyid, row.hint, row.pem):
                yield Problem(f"key {row.keyid[:16]}", "LEDGER_INCONSISTENT", "the row and its key disagree")
    for keyid, why in registry_check.check(found.tls, found.identity.origin):
        yield Problem(f"TLS key {keyid[:16]}", "LEDGER_INCONSISTENT", why)


def _log_problems(found: _Found, published: Published) -> Iterator[Problem]:
    tree = Tree()
    for index, row in enumerate(found.leaves):
        if row.log_index != index or row.hash != leaf_hash(row.body):
            yield Problem(f"leaf {row.log_index}", "LEDGER_INCONSISTENT", "its number or hash is not that of its bytes")
        tree.append(leaf_hash(row.body))
    if published.size > len(tree) or tree.root(published.size) != published.root:
        message = f"{published.size} leaves were published, of which the ledger is no continuation"
        yield Problem("log.size", "LEDGER_INCONSISTENT", message)
    if sorted(found.checkpoints) != list(range(1, len(tree) + 1)):
        yield Problem("checkpoint", "LEDGER_INCONSISTENT", "there is not one signed head for every size of the log")
    for size, note in found.checkpoints.items():
        try:
            head = heads.verify(note, found.signers.log)
        except GenepoolError as exc:
            yield Problem(f"checkpoint {size}", exc.reason, exc.message)
        else:
            if head.size != size or size > len(tree) or head.root != tree.root(size):
                yield Problem(f"checkpoint {size}", "LEDGER_INCONSISTENT", "it is not the head of the leaves")


def _replayed(found: _Found, problems: list[Problem]) -> History:
    """What the log says happened."""
    history = History(found.identity.origin, found.signers.release, found.signers.operator)
    for row in found.leaves:
        problems += [
            Problem(f"leaf {violation.index}", violation.reason, violation.message)
            for violation in history.take(row.body, row.payload)
        ]
    return history


def _state_problems(found: _Found, history: History) -> Iterator[Problem]:
    for site in found.sites:
        logged = history.sites.get(site.name)
        if site.keyid and (logged is None or logged.state != site.state or site.keyid not in logged.keyids):
            yield Problem(f"site {site.name}", "LEDGER_INCONSISTENT", "its state or key is not what the log says")
    logged_sites = {name for name, logged in history.sites.items() if logged.state != "INVITED"}
    for name in sorted(logged_sites - {site.name for site in found.sites if site.keyid}):
        yield Problem(f"site {name}", "LEDGER_INCONSISTENT", "the log knows it, the ledger does not")
    for row in found.rows:
        standing = history.contributions.get(row.contribution_id)
        if standing is None or (standing.index, standing.state) != (row.log_index, row.state):
            where = f"contribution {row.contribution_id[:16]}"
            yield Problem(where, "LEDGER_INCONSISTENT", "its state or index is not what the log says")


def _cosignature_problems(found: _Found) -> Iterator[Problem]:
    for row in found.cosignatures:
        try:
            note = witness.joined(found.checkpoints.get(row.size, ""), [row.line])
            (cosignature,) = witness.cosignatures(note, [WitnessVerifier.parse(row.vkey)])
            holds = (cosignature.time, cosignature.line) == (row.time, row.line)
        except (GenepoolError, ValueError):
            holds = False
        if not holds:
            yield Problem(f"cosignature {row.size}", "CHECKPOINT_INVALID", "it is not one of that checkpoint")


def _withdrawal_problems(found: _Found, history: History) -> Iterator[Problem]:
    logged = {
        name: (contribution.withdrawn, contribution.erased)
        for name, contribution in history.contributions.items()
        if contribution.withdrawn is not None
    }
    rows = {row.contribution_id: (row.log_index, row.erased) for row in found.withdrawals}
    for name in sorted(set(logged) | set(rows)):
        if logged.get(name) != rows.get(name):
            message = "the ledger and the log do not agree when it was withdrawn and erased"
            yield Problem(f"withdrawal {name[:16]}", "LEDGER_INCONSISTENT", message)
    for row in found.withdrawals:
        try:
            bundle = envelope.parse(row.receipt)
            leaf = found.leaves[row.log_index]
            receipt.verify(bundle, receipt.open_leaf(leaf.body, leaf.payload), found.signers.log)
            same = bundle.payload == leaf.payload
        except (GenepoolError, IndexError):
            same = False
        if not same:
            yield Problem(f"withdrawal {row.contribution_id[:16]}", "PROOF_INVALID", "its receipt does not hold")


def _sketch_problems(place: PoolFolder, found: _Found) -> Iterator[Problem]:
    """Every erased contribution has a sketch's row, which the pool's secret opens."""
    rows = {row.contribution_id: row for row in found.sketches}
    for name in sorted(found.erased - set(rows)):
        yield Problem(f"sketch {name[:16]}", "LEDGER_INCONSISTENT", "there is none of a contribution that was erased")
    operators = {span.key.keyid for span in found.signers.operator.spans}
    receipts = {row.contribution_id: row.receipt for row in found.withdrawals}
    try:
        secret = ReviewSecret.read(place.review_key)
    except GenepoolError as exc:
        if any(row.sealed for row in found.sketches):
            yield Problem(place.review_key.name, exc.reason, exc.message)
        return
    for name, row in rows.items():
        try:
            if row.sealed:
                secret.open(name, row.sealed)
        except GenepoolError as exc:
            yield Problem(f"sketch {name[:16]}", exc.reason, exc.message)
        if row.sealed and bool(row.by_operator) != _signed_by(receipts.get(name, b""), operators):
            yield Problem(f"sketch {name[:16]}", "LEDGER_INCONSISTENT", "it does not say who withdrew the contribution")


def _signed_by(receipt: bytes, keyids: set[str]) -> bool:
    """Whether a receipt names one of these keys; one that is none is told elsewhere."""
    try:
        return envelope.parse(receipt).keyid in keyids
    except GenepoolError:
        return False


def _tile_problems(files: TileFiles, found: _Found, published: Published) -> Iterator[Problem]:
    tree = Tree(row.hash for row in found.leaves)

    def content(tile: Tile) -> bytes:
        if tile.level is not None:
            return tiles.hashes(tree, tile)
        rows = found.leaves[tile.start : tile.start + tile.width]
        return tiles.bundle([row.body if tile.kind == "tile/entries" else row.payload for row in rows])

    for tile in files.wrong(min(published.size, len(tree)), content):
        message = "the file is missing or not what the ledger says; genepool-server fsck --repair writes it again"
        yield Problem(tile.path, "LEDGER_INCONSISTENT", message)


def _row_problems(found: _Found, history: History) -> Iterator[Problem]:
    position = Position(
        found.identity.origin, found.signers.log, {row.keyid: (row.site, row.pem) for row in found.keys}
    )
    if len(found.rows) != len(history.contributions):
        message = f"there are {len(found.rows)} contributions, and the log accepted {len(history.contributions)}"
        yield Problem("contribution", "LEDGER_INCONSISTENT", message)
    for row in found.rows:
        body = found.leaves[row.log_index].body if row.log_index < len(found.leaves) else b""
        for reason, message in check_row(position, row, body):
            yield Problem(f"contribution {row.contribution_id[:16]}", reason, message)


def _blob_problems(blobs: Blobs, found: _Found) -> Iterator[Problem]:
    try:
        blobs.require(creation.owner_of(found.identity))
    except InvalidInput as exc:
        yield Problem("blobs", exc.reason, exc.message)
    for row in found.rows:
        where = f"blob {row.sha256[:16]}"
        if row.state == "WITHDRAWN":
            left = blobs.holds(row.sha256) or blobs.path(row.sha256).exists()
            if row.contribution_id in found.erased and left:
                yield Problem(where, "BLOB_CORRUPT", "the log says that it was erased")
            continue
        try:
            stored = blobs.measure(row.sha256)
        except StorageError as exc:
            yield Problem(where, "BLOB_CORRUPT", f"it cannot be read: {exc.message}")
        else:
            if stored is None:
                yield Problem(where, "BLOB_CORRUPT", "it is missing")
            elif stored != (row.size_bytes, row.sha256):
                yield Problem(where, "BLOB_CORRUPT", "its bytes are not those of its digest")


def _notes(blobs: Blobs, found: _Found) -> list[str]:
    known = {row.sha256 for row in found.rows}
    orphans = sorted(set(blobs.digests()) - known)
    waiting = [row.contribution_id for row in found.withdrawals if row.erased is None]
    late = [
        f"contribution {name[:16]} is withdrawn and not erased yet: the pool does so when it opens" for name in waiting
    ]
    return late + [
        f"blob {name[:16]} belongs to no contribution: a commit was cut short and not repeated" for name in orphans
    ]
