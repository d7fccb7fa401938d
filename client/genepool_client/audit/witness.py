"""A witness: keeps the last checkpoint that it saw of each log, and cosigns only what continues it (C2SP tlog-witness).

    key.pem               Ed25519, signs cosignatures only
    name                  of the witness, a part of its key
    HASH/checkpoint       the last one cosigned of the log whose first key has that hash
    HASH/fork-evidence/   what it refused to cosign, with what it had seen

C2SP has logs push checkpoints to witnesses. Here the witness fetches and hands in, because hospitals can call out and
cannot be called; what `add_checkpoint` decides is the same.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from genepool_client.transport.channel import Connection
from genepool_client.transport.durable import write_atomic
from genepool_client.transport.logview import LogView, fetch_from
from genepool_protocol.private_files import open_own, private_folder
from genepool_protocol.trust import checkpoint as heads
from genepool_protocol.trust import merkle, witness
from genepool_protocol.trust.checkpoint import Checkpoint
from genepool_protocol.trust.keys import WitnessSigner
from genepool_protocol.trust.terms import AnyLog
from genepool_protocol.v1 import pool_pb2
from genepool_protocol.wire.errors import InvalidInput, NotFound, Refused, VerificationError


class Witness:
    """A witness in a folder.

    Args:
        folder: made by `create`.

    Raises:
        NotFound: FILE_MISSING, it is none.
        InvalidInput: KEY_MALFORMED or NAME_INVALID.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            name = (folder / "name").read_text(encoding="utf-8").strip()
            self.signer = WitnessSigner.from_pem(name, (folder / "key.pem").read_bytes())
        except OSError as exc:
            raise NotFound(
                "FILE_MISSING", f"there is no witness in {folder}", "make one with: genepool witness init"
            ) from exc

    @classmethod
    def create(cls, folder: Path, name: str) -> Self:
        """A witness with a fresh key.

        Raises:
            InvalidInput: PATH_NOT_EMPTY or NAME_INVALID.
        """
        if folder.exists() and any(folder.iterdir()):
            raise InvalidInput("PATH_NOT_EMPTY", f"{folder} is not an empty folder", "choose a new one")
        signer = WitnessSigner.generate(name)
        private_folder(folder)
        write_atomic(folder / "key.pem", signer.pem(), 0o600)
        write_atomic(folder / "name", f"{name}\n".encode())
        return cls(folder)

    def seen(self, log: AnyLog) -> Checkpoint | None:
        """The last checkpoint of that log that was cosigned.

        Raises:
            VerificationError: CHECKPOINT_INVALID, the file was changed.
        """
        return self._view(log).seen()

    def add_checkpoint(
        self, log: AnyLog, old_size: int, proof: Sequence[bytes], note: str, now: datetime
    ) -> Checkpoint:
        """Cosign a checkpoint if it continues the last one; looking and remembering are one step.

        Args:
            log: the trusted keys of the log.
            old_size: of the checkpoint that the proof starts from: the last one seen, 0 for none.
            proof: consistency proof from there.
            note: the checkpoint, signed by the log.
            now: the clock.

        Returns:
            The checkpoint with this witness's line, remembered durably.

        Raises:
            VerificationError: CHECKPOINT_INVALID; PROOF_INVALID, the proof does not hold; LOG_FORK, another root for
                the size that was seen: both are kept.
            Refused: LOG_RANGE, `old_size` is not that of the last one (metadata size says which), or the new one is
                smaller.
        """
        new = witness.bare(heads.verify(note, log))
        with self._locked():
            view = self._view(log)
            seen = view.seen()
            size = 0 if seen is None else seen.size
            if old_size != size or new.size < size:
                raise Refused(
                    "LOG_RANGE",
                    f"the last checkpoint that this witness saw has {size} entries",
                    "prove that the new one continues that",
                    size=str(size),
                )
            if seen is not None and new.size == size and new.root != seen.root:
                view.confirm(seen, new)
            if seen is not None and size:
                merkle.verify_consistency(size, new.size, seen.root, new.root, proof)
            elif proof:
                raise VerificationError("PROOF_INVALID", "a proof from an empty log must be empty")
            line = witness.cosign(new, self.signer, int(now.astimezone(UTC).timestamp()))
            write_atomic(self._place(log) / "checkpoint", new.note.encode())
        return heads.verify(witness.joined(new.note, [line]), log)

    def visit(self, connection: Connection, now: datetime) -> Checkpoint | None:
        """Fetch a pool's head, cosign it and hand the cosignature in; None for an empty log.

        Raises:
            VerificationError: as `add_checkpoint`; LOG_FORK, the pool cannot prove that it continues what was seen:
                both heads are kept; KEY_UNKNOWN, the pool does not know this witness.
            GenepoolError: as `Connection.call`.
        """
        log = connection.trusted.log
        response = connection.call(connection.log.GetCheckpoint, pool_pb2.GetCheckpointRequest())
        view = LogView(self._place(log) / "checkpoint", log, fetch_from(connection))
        seen, shown = view.seen(), heads.verify(response.checkpoint, log) if response.checkpoint else None
        if shown is None or (seen is not None and shown.size < seen.size):
            view.observe(response.checkpoint)  # a fork, or an older head of the same log
            return None
        size = 0 if seen is None else seen.size
        try:
            proof = fetch_from(connection)(size, shown.size) if 0 < size < shown.size else []
            cosigned = self.add_checkpoint(log, size, proof, shown.note, now)
        except VerificationError as exc:
            if seen is None or exc.reason != "PROOF_INVALID":
                raise
            view.confirm(seen, shown)  # asks once more, and keeps both
            raise
        connection.call(connection.log.AddCosignature, pool_pb2.AddCosignatureRequest(checkpoint=cosigned.note))
        return cosigned

    def _place(self, log: AnyLog) -> Path:
        return private_folder(self._folder / log.log_id.hex()[:16])

    def _view(self, log: AnyLog) -> LogView:
        return LogView(self._place(log) / "checkpoint", log, lambda _old, _new: [])

    @contextmanager
    def _locked(self) -> Iterator[None]:
        handle = open_own(self._folder / ".lock", os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
