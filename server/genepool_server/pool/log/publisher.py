"""The log of a pool, shown to everybody: whose it is, its heads with their cosignatures, leaves, tiles and proofs."""

from genepool_protocol.trust.terms import LogKeys
from genepool_server.pool.log.log import Log
from genepool_server.pool.log.witnessing import Cosigned


class Publisher:
    """The part of a pool that is about its log.

    Args:
        log: of the pool.
        cosigned: its heads, with what witnesses signed.
    """

    def __init__(self, log: Log, cosigned: Cosigned) -> None:
        self._log = log
        self._cosigned = cosigned

    @property
    def origin(self) -> str:
        """Name of the pool and its log."""
        return self._log.key.name

    @property
    def log_key(self) -> LogKeys:
        """The keys that verify the log's checkpoints."""
        return self._log.keys

    def checkpoint(self) -> str:
        """The latest signed tree head with the cosignatures that it has, empty while the log is."""
        return self._cosigned.latest()

    def witnessed(self) -> str:
        """The latest head that a quorum of witnesses cosigned, empty before the first."""
        return self._cosigned.witnessed()

    def add_cosignature(self, note: str) -> None:
        """Keep a witness's cosignature of one of the log's heads.

        Raises:
            VerificationError: CHECKPOINT_INVALID; LOG_FORK, it is no head of this log; KEY_UNKNOWN, of no witness.
            StorageError: DISK_FULL or DISK_FAILED.
        """
        self._cosigned.add(note)

    def entries(self, start: int, count: int) -> list[bytes]:
        """Leaves from `start` on, at most `count` and at most LIMITS.log_entries.

        Raises:
            Refused: LOG_RANGE.
        """
        return self._log.entries(start, count)

    def tile(self, path: str) -> bytes:
        """A file of the log's static copy, by its path in C2SP tlog-tiles.

        Raises:
            Refused: LOG_RANGE.
        """
        return self._log.tile(path)

    def repair(self) -> list[str]:
        """Write again the files that follow from the ledger and are missing or wrong; answers their paths.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED.
        """
        return self._log.repair()

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Proof that the log's tree of size `new` extends that of size `old`.

        Raises:
            Refused: LOG_RANGE.
        """
        return self._log.consistency(old, new)
