"""The files of a pool's folder, and the lock that keeps a second process out."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from genepool_protocol.trust.key_files import read_private
from genepool_protocol.trust.keys import LogSigner, SigningKey, VerifyingKey
from genepool_protocol.trust.trusted import Signers
from genepool_protocol.wire.errors import NotFound, StorageError, Unavailable
from genepool_server import durable
from genepool_server.durable import translated
from genepool_server.pool.store.database import Database
from genepool_server.records import PoolIdentity

_RESTORE = "restore it from the backup"


@dataclass(frozen=True, slots=True)
class PoolKeys:
    """What a pool signs statements with.

    Attributes:
        release: descendants, and what the pool does by itself.
        operator: what the operator decides.
    """

    release: SigningKey
    operator: SigningKey


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
    def operator_pem(self) -> Path:
        """Signs what the operator decides."""
        return self.keys / "operator.pem"

    @property
    def ca_crt(self) -> Path:
        """Who vouches for the server; its key lies beside it."""
        return self.keys / "ca.crt"

    @property
    def online_pem(self) -> Path:
        """Signs how fresh the trust root is."""
        return self.keys / "online.pem"

    @property
    def offline(self) -> Path:
        """Keys of the trust root, until the operator has taken them away."""
        return self.root / "offline"

    @property
    def trust(self) -> Path:
        """The trust root's files, which are served."""
        return self.root / "trust"

    @property
    def signers_file(self) -> Path:
        """Which keys sign now, and which ones signed before."""
        return self.root / "signers.json"

    @property
    def review_key(self) -> Path:
        """The secret of reviews and sketches."""
        return self.keys / "review.key"

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
    def campaigns(self) -> Path:
        """What Flower campaigns were asked for and became."""
        return self.root / "campaigns"

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

    def signers(self) -> Signers:
        """The keys that this pool signs with or has signed with.

        Raises:
            NotFound: FILE_MISSING.
            InvalidInput: JSON_MALFORMED or FILE_MALFORMED.
        """
        try:
            raw = self.signers_file.read_bytes()
        except OSError as exc:
            why = f"{self.signers_file} cannot be read: {exc.strerror}"
            raise NotFound("FILE_MISSING", why, _RESTORE) from exc
        return Signers.parse(raw, self.signers_file.name)

    def log_signer(self, identity: PoolIdentity, signers: Signers) -> LogSigner:
        """The key that signs checkpoints: the last one of the log that the pool was made with.

        Raises:
            StorageError: LEDGER_INCONSISTENT.
            NotFound: FILE_MISSING.
            VerificationError: KEY_EXPOSED.
            InvalidInput: KEY_MALFORMED.
        """
        return self._log_signer(identity, signers)[1]

    def pool_keys(self, signers: Signers) -> PoolKeys:
        """The keys that sign statements now.

        Raises:
            StorageError: LEDGER_INCONSISTENT, they are others than `signers` names.
            NotFound: FILE_MISSING.
            VerificationError: KEY_EXPOSED.
            InvalidInput: KEY_MALFORMED.
        """
        release = _statement_key(self.release_pem, signers.release.current)[1]
        return PoolKeys(release, _statement_key(self.operator_pem, signers.operator.current)[1])

    def adopt(self, identity: PoolIdentity, signers: Signers) -> None:
        """Put keys in their place that took over since the pool was open last.

        Raises:
            StorageError: LEDGER_INCONSISTENT; DISK_FULL or DISK_FAILED.
            GenepoolError: as `log_signer` and `pool_keys`.
        """
        places = {
            self.log_pem: self._log_signer(identity, signers)[0],
            self.release_pem: _statement_key(self.release_pem, signers.release.current)[0],
            self.operator_pem: _statement_key(self.operator_pem, signers.operator.current)[0],
        }
        for path, place in places.items():
            if place != path:
                durable.publish(place, path)

    def _log_signer(self, identity: PoolIdentity, signers: Signers) -> tuple[Path, LogSigner]:
        log = signers.log
        if (log.name, log.spans[0].key.vkey) != (identity.origin, identity.log_vkey):
            raise _foreign(self.signers_file)
        for place in _places(self.log_pem):
            signer = LogSigner.from_pem(identity.origin, read_private(place, _RESTORE))
            if signer.public == log.current:
                return place, signer
        raise _foreign(self.log_pem)


def following(path: Path) -> Path:
    """Where the key lies that is to take the place of this one."""
    return path.with_name(f"{path.stem}.next{path.suffix}")


def _places(path: Path) -> list[Path]:
    return [path, following(path)] if following(path).exists() else [path]


def _statement_key(path: Path, public: VerifyingKey) -> tuple[Path, SigningKey]:
    for place in _places(path):
        key = SigningKey.from_pem(read_private(place, _RESTORE), f"{path.stem} key")
        if key.public == public:
            return place, key
    raise _foreign(path)


def _foreign(path: Path) -> StorageError:
    return StorageError(
        "LEDGER_INCONSISTENT", f"{path} is not of this pool, or not the current one", "put the pool's own file back"
    )


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
