"""The store of weights, by digest: what was published is never modified, and has one name."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from genepool_protocol.trust.digest import is_sha256_hex
from genepool_server.pool import durable


class Blobs(Protocol):
    """Files by hex SHA-256. An object store implements it with a local cache behind `path`."""

    def publish(self, source: Path, sha256: str) -> None:
        """Take over a synced local file whose digest is known; it is durable under its digest when this returns.

        Repeating it after it succeeded does nothing.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED; the file is in one of the two places.
        """
        ...

    def path(self, sha256: str) -> Path:
        """Where the file can be mapped; whether it exists is not looked at."""
        ...

    def holds(self, sha256: str) -> bool:
        """Whether a file of that name was published."""
        ...

    def erase(self, sha256: str) -> None:
        """Overwrite a file and take it away, durably; one that is not there is fine, so repeating it is.

        Whoever has it mapped reads zeros from then on.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED; the file may be damaged, and must be erased again.
        """
        ...

    def digests(self) -> Iterator[str]:
        """The digest of every file, in no order."""
        ...


class FolderBlobs:
    """A folder: `aa/<sha256>`, where `aa` are the digest's first two digits. Implements `Blobs`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._durable: set[Path] = set()

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
