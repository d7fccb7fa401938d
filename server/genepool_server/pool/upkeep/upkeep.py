"""What an operator does to all weights of an open pool at once: bring them here, seal, back up, put back."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import select

from genepool_protocol.trust import digest
from genepool_protocol.wire.errors import InvalidInput
from genepool_server import durable
from genepool_server.pool.contributions.contributions import Contributions
from genepool_server.pool.contributions.sealing import Sealer
from genepool_server.pool.rows import contribution_rows
from genepool_server.pool.store import schema
from genepool_server.pool.store.blobs import Blobs
from genepool_server.pool.store.folder import PoolFolder
from genepool_server.pool.store.ledger import Ledger
from genepool_server.pool.store.sqlite import Sqlite
from genepool_server.pool.upkeep import campaign_records
from genepool_server.pool.upkeep.backup import MANIFEST, SEALED, BackupManifest, copy_rows, copy_tree, made_whole
from genepool_server.records import Contribution

_DOWNLOADS: Final = 8
"""Weights that are fetched at the same time."""


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What a backup holds.

    Attributes:
        contributions: whose weights are in it.
        log_size: leaves of the log.
    """

    contributions: int
    log_size: int


@dataclass(frozen=True, slots=True)
class Upkeep:
    """The part of a pool that is about the whole of it. Thread-safe.

    Attributes:
        folder: of the pool.
        ledger: opened.
        blobs: the weights.
        sealer: seals them.
        contributions: whose weights.
    """

    folder: PoolFolder
    ledger: Ledger
    blobs: Blobs
    sealer: Sealer
    contributions: Contributions

    def gather(self) -> int:
        """Bring all weights to this machine, whole, where workers map them; answers how many there are.

        Raises:
            StorageError: BLOB_CORRUPT; DISK_FULL or DISK_FAILED.
            Unavailable: STORE_UNAVAILABLE.
        """
        digests = [contribution.sha256 for contribution in self._live()]
        with ThreadPoolExecutor(_DOWNLOADS, thread_name_prefix="genepool-gather") as threads:
            return len(list(threads.map(self.blobs.local, digests)))

    def seal(self, target: Path) -> tuple[int, int]:
        """Put a sealed copy of every contribution's weights into a folder, for a backup.

        Returns:
            How many were sealed now, and how many there are.

        Raises:
            StorageError: BLOB_CORRUPT; DISK_FULL or DISK_FAILED.
        """
        with self.ledger.read() as tx:
            names = [row.contribution_id for row in contribution_rows.raw(tx)]
        sealed, total = 0, 0
        for name in names:
            with self.ledger.writing:  # no withdrawal can come between the look and the key
                with self.ledger.read() as tx:
                    contribution = contribution_rows.contribution(tx, Path, name)
                if contribution is not None and contribution.state != "WITHDRAWN":
                    sealed += self.sealer.seal(contribution.sha256, target)
                    total += 1
        return sealed, total

    def unseal(self, source: Path) -> tuple[int, int]:
        """Put back the weights that the store lacks, from sealed copies.

        Returns:
            How many were put back, and how many contributions have weights.

        Raises:
            NotFound: FILE_MISSING, a copy or its data key is not there.
            StorageError: BLOB_CORRUPT; DISK_FULL or DISK_FAILED.
        """
        live = list(self._live())
        missing = [contribution for contribution in live if not self.blobs.holds(contribution.sha256)]
        for contribution in missing:
            place = self.folder.root / contribution.sha256
            durable.write(place, self.sealer.unseal(contribution.sha256, source))
            self.blobs.publish(place, contribution.sha256)
        return len(missing), len(live)

    def backup(self, target: Path, keys: Path | None = None) -> BackedUp:
        """Write a backup of one moment into a folder, and a copy of the private keys into another; see `backup`.

        Raises:
            InvalidInput: PATH_NOT_EMPTY; OPTION_INVALID, inside the pool's folder.
            StorageError: BLOB_CORRUPT; DISK_FULL or DISK_FAILED.
            Unavailable: STORE_UNAVAILABLE.
        """
        place = self.folder
        _require_outside(place, target, keys)
        with self.ledger.read() as tx:
            origin = tx.execute(select(schema.identity.c.origin)).scalar_one()
        with made_whole(target) as building:
            self.seal(building / SEALED)  # most of the work, before anybody has to wait
            with self.ledger.writing:
                total = self.seal(building / SEALED)[1]
                with self.ledger.read() as tx:
                    copy_rows(tx, Sqlite(building / place.ledger.name))
                    size = len(tx.execute(select(schema.leaf.c.log_index)).all())
                copy_tree(place.root, building, _left_out(place))
                campaign_records.copy(place.campaigns, PoolFolder(building).campaigns)
                if keys is not None:
                    with made_whole(keys) as private:
                        copy_tree(place.keys, private, frozenset())
            files = {name: digest.sha256_file(building / name) for name in _names(building)}
            said = BackupManifest(pool=origin, log_size=size, files=files)
            durable.write(building / MANIFEST, said.model_dump_json(by_alias=True, indent=1).encode() + b"\n")
        return BackedUp(total, size)

    def _live(self) -> Iterator[Contribution]:
        return (entry for entry in self.contributions.each(brief=True) if entry.state != "WITHDRAWN")


def _left_out(place: PoolFolder) -> frozenset[str]:
    """What is not copied as it is: what is elsewhere in a backup, and what belongs to a process."""
    ledger = place.ledger.name
    parts = (place.keys, place.offline, place.blobs, place.cache, place.spool, place.lock, place.campaigns)
    return frozenset(
        {
            *(part.name for part in parts),
            *(ledger + end for end in ("", "-wal", "-shm")),
            *("operator.json", "address", MANIFEST, SEALED),
        }
    )


def _require_outside(place: PoolFolder, *targets: Path | None) -> None:
    for target in targets:
        if target is not None and target.resolve().is_relative_to(place.root.resolve()):
            raise InvalidInput(
                "OPTION_INVALID", f"{target} lies inside the pool's folder", "write to another disk or machine"
            )


def _names(folder: Path) -> list[str]:
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in paths if path.parts[0] not in (SEALED, MANIFEST))
