"""Witnesses: who else saw a checkpoint, and that they never saw another history (C2SP tlog-cosignature v1, Ed25519).

A cosignature is a line of the checkpoint's note: a time, and Ed25519 over that time and the note's text.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from genepool_protocol.trust import note
from genepool_protocol.trust.checkpoint import Checkpoint
from genepool_protocol.trust.keys import WitnessSigner, WitnessVerifier
from genepool_protocol.wire.errors import VerificationError

MAX_WITNESSES: Final = 15
"""A note has at most 16 signature lines, and one is the log's."""

MAX_AGE: Final = timedelta(hours=24)
"""A head whose quorum is older is a frozen one."""

_SIGNATURE: Final = 4 + 8 + 64


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A verified cosignature.

    Attributes:
        name: of the witness.
        vkey: its verifier key.
        time: seconds since 1970 by its clock.
        line: of the note.
    """

    name: str
    vkey: str
    time: int
    line: str


def _message(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def cosign(head: Checkpoint, signer: WitnessSigner, time: int) -> str:
    """The signature line of a witness for a checkpoint that it found consistent with all that it saw before."""
    text, _ = note.signatures(head.note)
    signature = signer.sign(_message(text, time))
    return note.line(signer.name, signer.public.note_id + time.to_bytes(8, "big") + signature)


def cosignatures(raw: str, witnesses: Iterable[WitnessVerifier]) -> list[Cosignature]:
    """The newest cosignature of each of these witnesses; lines of others are passed over.

    Raises:
        VerificationError: CHECKPOINT_INVALID, the note is malformed, or a line of a known witness does not hold.
    """
    text, lines = note.signatures(raw)
    known = {(witness.name, witness.note_id): witness for witness in witnesses}
    latest: dict[tuple[str, bytes], Cosignature] = {}
    for name, signature in lines:
        key = known.get((name, signature[:4]))
        if key is None:
            continue
        time = int.from_bytes(signature[4:12], "big")
        if len(signature) != _SIGNATURE or not key.holds(signature[12:], _message(text, time)):
            raise VerificationError("CHECKPOINT_INVALID", f"the cosignature of {name} does not hold")
        cosignature = Cosignature(name, key.vkey, time, note.line(name, signature))
        latest[name, key.note_id] = max(
            cosignature, latest.get((name, key.note_id), cosignature), key=lambda witness: witness.time
        )
    return sorted(latest.values(), key=lambda witness: witness.name)


def bare(head: Checkpoint) -> Checkpoint:
    """A verified checkpoint with the log's signature alone."""
    text, lines = note.signatures(head.note)
    log = (head.key.name, head.key.note_id)
    own = [note.line(name, signature) for name, signature in lines if (name, signature[:4]) == log]
    return replace(head, note=f"{text}\n{own[0]}")


def joined(raw: str, lines: Sequence[str]) -> str:
    """The note with more signature lines."""
    return raw + "".join(line for line in lines if line not in raw)


@dataclass(frozen=True, slots=True)
class WitnessPolicy:
    """Whose cosignatures are asked for: any `quorum` of `witnesses`."""

    witnesses: tuple[WitnessVerifier, ...] = ()
    quorum: int = 0

    def demand(self, head: Checkpoint, now: datetime | None = None) -> list[Cosignature]:
        """The cosignatures of a verified checkpoint, which must be enough.

        Args:
            head: with its note, cosignatures included.
            now: the clock, for a head that must be fresh; None for an archived one.

        Raises:
            VerificationError: WITNESSES_MISSING, too few, or too old; CHECKPOINT_INVALID.
        """
        accepted = cosignatures(head.note, self.witnesses)
        oldest = 0 if now is None else int((now.astimezone(UTC) - MAX_AGE).timestamp())
        enough = [cosignature for cosignature in accepted if cosignature.time >= oldest]
        if len(enough) < self.quorum:
            raise VerificationError(
                "WITNESSES_MISSING",
                f"{len(enough)} of the pinned witnesses cosigned the log's head of {head.size} entries"
                f"{'' if now is None else ' within a day'}, {self.quorum} are needed",
                "wait until the witnesses have seen it; if that takes long, ask the operator and the witnesses why",
            )
        return accepted
