"""Cosignatures of the log's heads, as witnesses hand them in; the pool keeps them and can make none itself."""

from dataclasses import dataclass

from genepool_protocol.trust import checkpoint as heads
from genepool_protocol.trust import witness
from genepool_protocol.trust.witness import WitnessPolicy
from genepool_protocol.wire.errors import VerificationError
from genepool_server.pool.log.log import Log
from genepool_server.pool.rows import log_rows
from genepool_server.pool.store.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Cosigned:
    """The log's heads with the cosignatures that they have. Thread-safe.

    Attributes:
        ledger: keeps them.
        log: whose heads.
        policy: which witnesses, and how many are a quorum.
    """

    ledger: Ledger
    log: Log
    policy: WitnessPolicy

    def add(self, note: str) -> None:
        """Keep a witness's cosignature of one of the log's heads.

        Raises:
            VerificationError: CHECKPOINT_INVALID; LOG_FORK, it is no head of this log; KEY_UNKNOWN, of no witness.
            StorageError: DISK_FULL or DISK_FAILED.
        """
        head = heads.verify(note, self.log.keys)
        if head.size > self.log.size or self.log.root(head.size) != head.root:
            raise VerificationError("LOG_FORK", "the checkpoint is none of this log's", "tell the operator at once")
        cosignatures = witness.cosignatures(note, self.policy.witnesses)
        if not cosignatures:
            raise VerificationError(
                "KEY_UNKNOWN",
                "no witness of this pool cosigned the checkpoint",
                "ask the operator to name the witness's key in the settings",
            )
        with self.ledger.read() as tx:  # cosignatures are public: repeating them must not take the writer
            new = [
                cosignature
                for cosignature in cosignatures
                if log_rows.is_newer(tx, head.size, cosignature.vkey, cosignature.time)
            ]
        if not new:
            return
        with self.ledger.write() as tx:
            for cosignature in new:
                log_rows.put_cosignature(tx, head.size, cosignature.vkey, cosignature.time, cosignature.line)

    def latest(self) -> str:
        """The published head with its cosignatures; empty while the log is."""
        note, size = self.log.published()
        return self._noted(size, note) if note else ""

    def witnessed(self) -> str:
        """The largest published head with a quorum; the latest one when no quorum is asked for."""
        if not self.policy.quorum:
            return self.latest()
        vkeys = [verifier.vkey for verifier in self.policy.witnesses]
        with self.ledger.read() as tx:
            size = log_rows.largest_cosigned(tx, vkeys, self.policy.quorum, self.log.size)
            note = "" if size is None else log_rows.checkpoint(tx, size)
        return "" if size is None else self._noted(size, note)

    def reached(self) -> dict[str, int]:
        """Name of each witness -> the largest published head that it cosigned; 0 for none."""
        with self.ledger.read() as tx:
            sizes = log_rows.cosigned(tx, [verifier.vkey for verifier in self.policy.witnesses], self.log.size)
        return {verifier.name: sizes.get(verifier.vkey, 0) for verifier in self.policy.witnesses}

    def _noted(self, size: int, note: str) -> str:
        vkeys = {witness_key.vkey for witness_key in self.policy.witnesses}
        with self.ledger.read() as tx:
            lines = [line for vkey, line in log_rows.cosignatures(tx, size) if vkey in vkeys]
        return witness.joined(note, lines)
