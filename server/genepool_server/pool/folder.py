"""The files of a pool's folder, and the lock that keeps a second process out."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from genepool_protocol.trust.key_files import read_private
from genepool_protocol.trust.keys import LogSigner, SigningKey
from genepool_protocol.wire.errors import NotFound, StorageError, Unavailable
from genepool_server.pool.database import Database
from genepool_server.pool.durable import translated
from genepool_server.pool.site_rows import Identity

_RESTORE = "restore it from the backup"


@dataclass(frozen=True, slots=True)
class PoolFolder:
    """Where everything of a pool lies."""

    root: Path

    @property
    def keys(self) -> Path:
        """Private keys, mode 0700."""
        return self.root / "keys"

    @property
    def log_pem(self) -> Path:
        """Signs checkpoints."""
        return self.keys / "log.pem"

    @property
    def release_pem(self) -> Path:
        """Signs descendants."""
        return self.keys / "release.pem"

    @property
    def data_keys(self) -> Path:
        """Keys of sealed copies of the weights."""
        return self.keys / "data"

    @property
    def ledger(self) -> Path:
        """The SQLite file."""
        return self.root / "ledger.sqlite"

    @property
    def head(self) -> Path:
        """Size and root of what the log has published: a restored older ledger contradicts it."""
        return self.root / "log.size"

    @property
    def tiles(self) -> Path:
        """The log's full tiles, which follow from the ledger."""
        return self.root / "tiles"

    @property
    def blobs(self) -> Path:
        """Accepted weights."""
        return self.root / "blobs"

    @property
    def cache(self) -> Path:
        """Local copies of weights that a bucket holds."""
        return self.root / "cache"

    @property
    def spool(self) -> Path:
        """Unfinished uploads."""
        return self.root / "spool"

    @property
    def blueprints(self) -> Path:
        """One folder per blueprint."""
        return self.root / "blueprints"

    @property
    def lock(self) -> Path:
        """Locked while the pool is open."""
        return self.root / "lock"

    def require(self, database: Database) -> None:
        """Check that a pool lies here, with its ledger there.

        Raises:
            NotFound: POOL_UNKNOWN.
            Unavailable: STORE_UNAVAILABLE.
        """
        if not database.exists():
            raise NotFound(
                "POOL_UNKNOWN",
                f"there is no pool in {self.root}: no ledger in {database.name}",
                "make one with genepool-server init DIR",
            )

    def log_signer(self, identity: Identity) -> LogSigner:
        """The key that signs checkpoints, which must be the one that the pool was made with.

        Raises:
            StorageError: LEDGER_INCONSISTENT.
            NotFound: FILE_MISSING.
            VerificationError: KEY_EXPOSED.
            InvalidInput: KEY_MALFORMED.
        """
        signer = LogSigner.from_pem(identity.origin, read_private(self.log_pem, _RESTORE))
        if signer.public.vkey != identity.log_vkey:
            raise StorageError(
                "LEDGER_INCONSISTENT",
                f"{self.log_pem} is not the key of this pool's log",
                "put the pool's own key back",
            )
        return signer

    def release_key(self) -> SigningKey:
        """The key that signs descendants.

        Raises:
            NotFound: FILE_MISSING.
            VerificationError: KEY_EXPOSED.
            InvalidInput: KEY_MALFORMED.
        """
        return SigningKey.from_pem(read_private(self.release_pem, _RESTORE), "release key")


class FolderLock:
    """An exclusive lock that ends with the process, however it ends.

    Raises:
        Unavailable: FOLDER_IN_USE.
        StorageError: DISK_FULL or DISK_FAILED.
    """

    def __init__(self, path: Path) -> None:
        with translated(path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(self._descriptor)
            raise Unavailable(
                "FOLDER_IN_USE",
                f"another process has the pool in {path.parent} open",
                "stop it, or choose another folder",
            ) from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._descriptor)
