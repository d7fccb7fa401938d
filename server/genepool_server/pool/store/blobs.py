"""The store of weights, by digest: what was published is never modified, and has one name."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from genepool_protocol.trust import digest
from genepool_protocol.trust.digest import is_sha256_hex
from genepool_protocol.wire.errors import InvalidInput
from genepool_server import durable


class Blobs(Protocol):
    """Files by hex SHA-256. An object store implements it with local copies behind `path`."""

    def create(self, owner: str) -> None:
        """Make an empty store.

        Args:
            owner: names the pool, for `require`.

        Raises:
            InvalidInput: PATH_NOT_EMPTY, it belongs to a pool; CONFIG_INVALID, it cannot be used.
            Unavailable: STORE_UNAVAILABLE.
            StorageError: DISK_FULL or DISK_FAILED.
        """
        ...

    def discard(self) -> None:
        """Take a store away that was made just now and that nobody has seen."""
        ...

    def require(self, owner: str) -> None:
        """Check that the store is there and this pool's.

        Raises:
            InvalidInput: CONFIG_INVALID.
            Unavailable: STORE_UNAVAILABLE.
        """
        ...

    def publish(self, source: Path, sha256: str) -> None:
        """Take over a synced local file whose digest is known; it is durable under its digest when this returns.

        Repeating it after it succeeded does nothing.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED; the file is in one of the two places.
            Unavailable: STORE_UNAVAILABLE; the same.
        """
        ...

    def path(self, sha256: str) -> Path:
        """Where the file can be mapped, once it is `local`; whether it exists is not looked at."""
        ...

    def local(self, sha256: str) -> Path:
        """The same, after making sure that a store elsewhere has a whole copy of it there.

        Raises:
            StorageError: BLOB_CORRUPT, the store has it not, or damaged; DISK_FULL or DISK_FAILED.
            Unavailable: STORE_UNAVAILABLE.
        """
        ...

    def measure(self, sha256: str) -> tuple[int, str] | None:
        """Size and SHA-256 of what the store really has under that name, read whole; None when it has nothing.

        Raises:
            StorageError: DISK_FAILED.
            Unavailable: STORE_UNAVAILABLE.
        """
        ...

    def holds(self, sha256: str) -> bool:
        """Whether a file of that name was published.

        Raises:
            Unavailable: STORE_UNAVAILABLE.
        """
        ...

    def erase(self, sha256: str) -> None:
        """Overwrite a file and take it away, durably; one that is not there is fine, so repeating it is.

        Whoever has it mapped reads zeros from then on.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED; the file may be damaged, and must be erased again.
            Unavailable: STORE_UNAVAILABLE; the same.
        """
        ...

    def digests(self) -> Iterator[str]:
        """The digest of every file, in no order.

        Raises:
            Unavailable: STORE_UNAVAILABLE.
        """
        ...


class FolderBlobs:
    """A folder: `aa/<sha256>`, where `aa` are the digest's first two digits. Implements `Blobs`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._durable: set[Path] = set()

    def create(self, owner: str) -> None:  # noqa: ARG002 - a folder in the pool's folder is its own
        """See `Blobs.create`."""
        durable.mkdir(self._root)

    def discard(self) -> None:
        """See `Blobs.discard`."""
        shutil.rmtree(self._root, ignore_errors=True)

    def require(self, owner: str) -> None:  # noqa: ARG002 - as above
        """See `Blobs.require`."""
        if not self._root.is_dir():
            raise InvalidInput(
                "CONFIG_INVALID",
                f"there is no folder {self._root}, so the weights are not here",
                "put `blobs` in genepool.toml back, or restore the folder from a backup",
            )

    def publish(self, source: Path, sha256: str) -> None:
        """See `Blobs.publish`."""
        target = self.path(sha256)
        if target.parent not in self._durable:
            durable.mkdir(target.parent)  # also when it exists: an earlier process may have ended before the sync
            self._durable.add(target.parent)
        durable.publish(source, target)

    def path(self, sha256: str) -> Path:
        """See `Blobs.path`."""
        return self._root / sha256[:2] / sha256

    def local(self, sha256: str) -> Path:
        """See `Blobs.local`; who reads the file checks it."""
        return self.path(sha256)

    def measure(self, sha256: str) -> tuple[int, str] | None:
        """See `Blobs.measure`."""
        path = self.path(sha256)
        if not path.is_file():
            return None
        with durable.translated(path):
            return path.stat().st_size, digest.sha256_file(path)

    def holds(self, sha256: str) -> bool:
        """See `Blobs.holds`."""
        return self.path(sha256).is_file()

    def erase(self, sha256: str) -> None:
        """See `Blobs.erase`."""
        durable.wipe(self.path(sha256))

    def digests(self) -> Iterator[str]:
        """See `Blobs.digests`."""
        for path in self._root.glob("??/*"):
            if is_sha256_hex(path.name) and path.name.startswith(path.parent.name):
                yield path.name
