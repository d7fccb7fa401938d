"""The pool's log as this client has seen it: it may only grow, and a log that shows another face is caught.

The last checkpoint that was verified lies in a file. Every new one must extend it, or be an older one that it extends.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from genepool_client.transport.channel import Connection
from genepool_client.transport.durable import write_atomic
from genepool_protocol.private_files import private_folder
from genepool_protocol.trust import checkpoint as heads
from genepool_protocol.trust import merkle
from genepool_protocol.trust.checkpoint import Checkpoint
from genepool_protocol.trust.terms import AnyLog
from genepool_protocol.v1 import pool_pb2
from genepool_protocol.wire.errors import GenepoolError, VerificationError

FetchProof = Callable[[int, int], Sequence[bytes]]
"""Consistency proof between two sizes of the log, from the pool."""


def fetch_from(connection: Connection) -> FetchProof:
    """The pool's own proofs."""

    def fetch(old: int, new: int) -> Sequence[bytes]:
        request = pool_pb2.GetConsistencyRequest(old_size=old, new_size=new)
        return connection.call(connection.log.GetConsistency, request).hashes

    return fetch


def head_of(connection: Connection, view: "LogView", now: datetime | None = None) -> Checkpoint | None:
    """The log's head as the pool shows it now, after the client's memory and its witnesses had their say.

    Args:
        connection: to the pool; its trust root says whether a quorum of witnesses is demanded.
        view: what this client has seen of the log.
        now: the clock; the computer's by default.

    Returns:
        The head that counts, the witnessed one where a quorum is demanded; None for an empty log.

    Raises:
        VerificationError: CHECKPOINT_INVALID, LOG_FORK; WITNESSES_MISSING.
        GenepoolError: as `Connection.call`.
    """
    response = connection.call(connection.log.GetCheckpoint, pool_pb2.GetCheckpointRequest())
    seen, policy = view.observe(response.checkpoint), connection.trusted.policy
    if not policy.quorum or not response.checkpoint:
        return seen
    if not response.witnessed:
        raise VerificationError(
            "WITNESSES_MISSING", "no quorum of the pinned witnesses cosigned the pool's log yet", "try again later"
        )
    head = heads.verify(response.witnessed, connection.trusted.log)
    policy.demand(head, now or datetime.now(UTC))
    view.advance(head)
    return head


def compare(seen: Checkpoint, new: Checkpoint, fetch: FetchProof) -> Checkpoint:
    """The larger of two verified checkpoints of one log, after the smaller one was proved to be its beginning.

    Raises:
        VerificationError: PROOF_INVALID, they are two faces of the log; the caller keeps both.
        GenepoolError: what `fetch` raises.
    """
    small, large = sorted((seen, new), key=lambda head: head.size)
    if small.size == 0:
        if small.root != merkle.EMPTY_ROOT:
            raise VerificationError("PROOF_INVALID", "a checkpoint of an empty log has a root")
        return large
    proof = [] if small.size == large.size else list(fetch(small.size, large.size))
    merkle.verify_consistency(small.size, large.size, small.root, large.root, proof)
    return large


class LogView:
    """The last verified checkpoint of a pool's log, in a file.

    Args:
        path: the file; its folder exists.
        log: the trusted keys of the log.
        fetch: where consistency proofs come from.
    """

    def __init__(self, path: Path, log: AnyLog, fetch: FetchProof) -> None:
        self._path, self._log, self._fetch = path, log, fetch

    @property
    def evidence(self) -> Path:
        """Where both checkpoints are kept when the log is caught."""
        return self._path.parent / "fork-evidence"

    def seen(self) -> Checkpoint | None:
        """The last verified checkpoint, or None before the first one.

        Raises:
            VerificationError: CHECKPOINT_INVALID, the file was changed.
        """
        if not self._path.exists():
            return None
        return heads.verify(self._path.read_text(encoding="utf-8", errors="replace"), self._log)

    def observe(self, note: str) -> Checkpoint | None:
        """Verify a checkpoint against the log's key and against the last one; returns what is now the last one.

        Args:
            note: the signed note that the pool showed; empty for an empty log.

        Raises:
            VerificationError: CHECKPOINT_INVALID; LOG_FORK, the log lost or changed entries: both notes are kept.
            GenepoolError: the pool gave no proof because it is away.
        """
        seen = self.seen()
        if not note:
            if seen is not None and seen.size:
                raise self._fork(seen, "", "it shows an empty log")
            return seen
        new = heads.verify(note, self._log)
        return self.advance(new) if seen is None or new.note != seen.note else seen

    def confirm(self, head: Checkpoint, other: Checkpoint) -> None:
        """Check that two verified checkpoints belong to one log, and keep both when they do not.

        Raises:
            VerificationError: LOG_FORK.
            GenepoolError: the pool gave no proof because it is away.
        """
        try:
            compare(head, other, self._fetch)
        except VerificationError as exc:
            raise self._fork(head, other.note, exc.message) from exc

    def advance(self, new: Checkpoint) -> Checkpoint:
        """As `observe`, for a checkpoint that was verified already."""
        seen = self.seen()
        latest = new
        if seen is not None:
            try:
                latest = compare(seen, new, self._fetch)
            except VerificationError as exc:
                raise self._fork(seen, new.note, exc.message) from exc
            except GenepoolError as exc:
                if exc.reason != "LOG_RANGE":
                    raise
                raise self._fork(seen, new.note, "it no longer has as many entries") from exc
        write_atomic(self._path, latest.note.encode())
        return latest

    def _fork(self, seen: Checkpoint, note: str, why: str) -> VerificationError:
        private_folder(self.evidence)
        name = hashlib.sha256((seen.note + note).encode()).hexdigest()[:16]
        write_atomic(self.evidence / f"{name}-seen.note", seen.note.encode())
        write_atomic(self.evidence / f"{name}-shown.note", note.encode())
        return VerificationError(
            "LOG_FORK",
            f"the log {self._log.name} contradicts what it signed before: {why}",
            f"send {self.evidence} to the operator and to the other sites, and submit nothing meanwhile",
        )
