"""The lock store: size and root of what the log has published, apart from the ledger.

A ledger that was restored from an older backup would sign a second history for sizes that were seen already. It is
found out because this file is ahead of it.
"""

from dataclasses import dataclass
from pathlib import Path

from genepool_protocol.trust.encoding import b64, unb64
from genepool_protocol.trust.merkle import EMPTY_ROOT
from genepool_protocol.wire.errors import GenepoolError, StorageError
from genepool_server import durable


@dataclass(frozen=True, slots=True)
class Published:
    """A tree that others may have seen."""

    size: int
    root: bytes


NOTHING = Published(0, EMPTY_ROOT)


class HeadStore:
    """A small file, replaced whole.

    Args:
        path: where it lies.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def create(self) -> None:
        """The file of an empty log.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED.
        """
        durable.create_exclusive(self._path, _encode(NOTHING))

    def read(self) -> Published:
        """What was published.

        Raises:
            StorageError: LEDGER_INCONSISTENT, the file is missing or malformed.
        """
        try:
            raw = self._path.read_bytes()  # once: it may be replaced at any moment
            size, root = raw.decode("ascii").splitlines()
            published = Published(int(size), unb64(root, "root"))
            if _encode(published) == raw:
                return published
        except (OSError, ValueError, GenepoolError) as exc:
            raise self._bad("is missing or malformed") from exc
        raise self._bad("is malformed")

    def advance(self, old: Published, new: Published) -> None:
        """Compare and swap; repeating it after it failed is fine.

        Raises:
            StorageError: LEDGER_INCONSISTENT, the file says neither `old` nor `new`; DISK_FULL or DISK_FAILED.
        """
        if self.read() not in (old, new):  # new: it was replaced, and then the folder could not be synced
            raise self._bad("was changed by another process")
        durable.write(self._path, _encode(new))

    def _bad(self, why: str) -> StorageError:
        return StorageError(
            "LEDGER_INCONSISTENT",
            f"{self._path}, which says how much of the log was published, {why}",
            "restore it together with the ledger it belongs to",
        )


def _encode(published: Published) -> bytes:
    return f"{published.size}\n{b64(published.root)}\n".encode()
