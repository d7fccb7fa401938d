"""From a backup and its keys back to a pool: checked as a whole before it is put in its place.

A log must not go back behind what it has published. So a backup that is older than a head that somebody has seen is
refused: other leaves would take the places of those that were lost, and every client would rightly call it a fork.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from genepool_protocol.trust import checkpoint as heads
from genepool_protocol.trust import digest
from genepool_protocol.trust.merkle import Tree
from genepool_protocol.trust.terms import LogKeys
from genepool_protocol.wire.documents import first_problem
from genepool_protocol.wire.errors import GenepoolError, InvalidInput, NotFound, StorageError, error
from genepool_server import durable
from genepool_server.pool.contributions.sealing import Sealer
from genepool_server.pool.log.published_head import HeadStore, Published
from genepool_server.pool.rows import contribution_rows, log_rows, site_rows
from genepool_server.pool.store.folder import PoolFolder
from genepool_server.pool.store.ledger import Ledger
from genepool_server.pool.store.sqlite import Sqlite
from genepool_server.pool.store.storage import Storage
from genepool_server.pool.upkeep import creation
from genepool_server.pool.upkeep.backup import MANIFEST, SEALED, BackupManifest, copy_rows, copy_tree, made_whole
from genepool_server.pool.upkeep.fsck import FsckReport, examine
from genepool_server.records import PoolIdentity

_OTHER: Final = "use another backup"


@dataclass(frozen=True, slots=True)
class BackupSource:
    """What a pool is restored from.

    Attributes:
        backup: its folder.
        keys: the folder of its keys.
        published: files that say how far the log was seen: signed heads, or a pool's `log.size`.
    """

    backup: Path
    keys: Path
    published: Sequence[Path] = ()


def restore(source: BackupSource, target: Path, storage: Storage, changed: Mapping[str, bytes]) -> FsckReport:
    """Put a backup back, as a whole or not at all.

    Args:
        source: the backup.
        target: the pool's folder: does not exist, or is empty.
        storage: where ledger and weights will be: an empty database, and a prefix of no pool.
        changed: files that get another content than in the backup.

    Returns:
        What `fsck` says of the restored pool: no problems.

    Raises:
        NotFound: FILE_MISSING, of the backup, or of a data key.
        InvalidInput: PATH_NOT_EMPTY; OPTION_INVALID or CONFIG_INVALID, the storage; JSON_MALFORMED.
        Unavailable: STORE_UNAVAILABLE.
        StorageError: BLOB_CORRUPT, the backup is damaged; LEDGER_INCONSISTENT, more than it holds was published;
            whatever fsck finds; DISK_FULL or DISK_FAILED.
        VerificationError: CHECKPOINT_INVALID, a published head is not one of this log.
    """
    storage.check()
    with ExitStack() as undo:
        with made_whole(target) as building:
            report = _built(source, PoolFolder(building), storage, changed, undo)
        undo.pop_all()
    return report


def _built(
    source: BackupSource, place: PoolFolder, storage: Storage, changed: Mapping[str, bytes], undo: ExitStack
) -> FsckReport:
    _copy(source, place, _checked(source.backup), changed)
    Ledger.open(Sqlite(place.ledger)).close()  # brings that of an older version up to this one
    with Ledger.look(Sqlite(place.ledger)) as ledger:
        with ledger.read() as tx:
            identity = site_rows.identity(tx)
            rows = contribution_rows.raw(tx)
            tree = Tree(log_rows.leaf_hashes(tx))
        for path in source.published:
            _require_continued(tree, _seen(path, place.signers().log), path)
        if storage.ledger:
            _move_rows(ledger, storage, place, undo)
    _fill(source, place, storage, identity, rows, undo)
    report = examine(place.root, storage)
    if report.problems:
        raise _unsound(report)
    return report


def _checked(backup: Path) -> BackupManifest:
    path = backup / MANIFEST
    if not path.is_file():
        raise NotFound("FILE_MISSING", f"{backup} is no backup: it has no {MANIFEST}", "name a folder of that command")
    try:
        said = BackupManifest.model_validate_json(path.read_bytes())
    except ValidationError as exc:
        raise InvalidInput("JSON_MALFORMED", f"{path} is damaged: {first_problem(exc)}", _OTHER) from exc
    for name, sha256 in said.files.items():
        file, parts = backup / name, Path(name).parts
        if ".." in parts or Path(name).is_absolute() or not file.is_file() or digest.sha256_file(file) != sha256:
            raise StorageError("BLOB_CORRUPT", f"the backup's file {name} is missing or damaged", _OTHER)
    return said


def _copy(source: BackupSource, place: PoolFolder, said: BackupManifest, changed: Mapping[str, bytes]) -> None:
    if not (source.keys / place.log_pem.name).is_file():
        raise NotFound("FILE_MISSING", f"{source.keys} holds no keys of a pool", "name the backup of its keys")
    durable.mkdir(place.keys)
    copy_tree(source.keys, place.keys, frozenset())
    durable.mkdir(place.spool)
    for name in said.files:
        path = source.backup / name
        with durable.translated(path):
            raw, mode = changed.get(name) or path.read_bytes(), path.stat().st_mode & 0o777
        for folder in reversed(Path(name).parents[:-1]):
            durable.mkdir(place.root / folder)
        durable.write(place.root / name, raw, mode)


def _seen(path: Path, log: LogKeys) -> Published:
    """How far the log had come when a head was signed, or a lock store written."""
    if not path.is_file():
        raise NotFound("FILE_MISSING", f"there is no file {path}", "name a signed head or a log.size")
    try:
        return HeadStore(path).read()
    except StorageError:
        head = heads.verify(path.read_text("utf-8", errors="replace"), log)
        return Published(head.size, head.root)


def _require_continued(tree: Tree, seen: Published, path: Path) -> None:
    if seen.size > len(tree) or tree.root(seen.size) != seen.root:
        raise StorageError(
            "LEDGER_INCONSISTENT",
            f"the log was published with {seen.size} leaves, says {path}, and this backup with its {len(tree)} is no "
            "continuation of that",
            "restore a newer backup; if there is none, the log has ended: see deploy/storage.md",
        )


def _move_rows(ledger: Ledger, storage: Storage, place: PoolFolder, undo: ExitStack) -> None:
    database = storage.database(place)
    with ledger.read() as tx:
        copy_rows(tx, database)
    undo.callback(database.discard)


def _fill(
    source: BackupSource,
    place: PoolFolder,
    storage: Storage,
    identity: PoolIdentity,
    rows: Sequence[Any],
    undo: ExitStack,
) -> None:
    if storage.ledger:
        Sqlite(place.ledger).discard()
    blobs = storage.store(place)
    blobs.create(creation.owner_of(identity))
    undo.callback(_swallowed(blobs.discard))
    sealer = Sealer(place.data_keys, blobs)
    for row in rows:
        if row.state != "WITHDRAWN":
            path = place.spool / row.sha256
            durable.write(path, sealer.unseal(row.sha256, source.backup / SEALED))
            blobs.publish(path, row.sha256)


def _swallowed(act: Callable[[], None]) -> Callable[[], None]:
    """The same, without hiding the first error behind a second one."""

    def acted() -> None:
        try:
            act()
        except GenepoolError:
            return

    return acted


def _unsound(report: FsckReport) -> GenepoolError:
    first, more = report.problems[0], len(report.problems) - 1
    rest = f", and {more} more" if more else ""
    return error(first.reason, f"the backup does not hold: {first.where}: {first.message}{rest}", _OTHER)
