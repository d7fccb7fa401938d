"""The log's signed tree head: a C2SP checkpoint of exactly three lines, without extensions."""

import re
from dataclasses import dataclass
from typing import Final

from genepool_protocol.trust import note
from genepool_protocol.trust.encoding import b64, unb64
from genepool_protocol.trust.keys import LogSigner, LogVerifier
from genepool_protocol.trust.terms import AnyLog, LogKeys
from genepool_protocol.wire.errors import GenepoolError, VerificationError

_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,15}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Origin, size and root of the tree, as its log signed it; `note` is the signed text, `key` signed it.

    Made by `sign` and `verify` only, so holding one means that the log's signature was checked.
    """

    origin: str
    size: int
    root: bytes
    note: str
    key: LogVerifier


def sign(size: int, root: bytes, signer: LogSigner) -> Checkpoint:
    """The signed head of the signer's log."""
    raw = note.sign(f"{signer.name}\n{size}\n{b64(root)}\n", signer)
    return Checkpoint(signer.name, size, root, raw, signer.public)


def verify(raw: str, log: AnyLog) -> Checkpoint:
    """Check a checkpoint against the log's trusted key, of those that it has had one of its size; its origin must fit.

    Raises:
        VerificationError: CHECKPOINT_INVALID.
    """
    keys = LogKeys.of(log)
    text, signatures = note.signatures(raw)
    lines = text.split("\n")
    if len(lines) != 4 or lines[0] != keys.name or not _SIZE.fullmatch(lines[1]):
        raise _bad("origin, size or number of lines")
    size, signed = int(lines[1]), {(name, signature[:4]) for name, signature in signatures}
    allowed = keys.at(size)
    key = next((verifier for verifier in allowed if (verifier.name, verifier.note_id) in signed), allowed[-1])
    note.verify(raw, key)
    try:
        root = unb64(lines[2], "root")
    except GenepoolError as exc:
        raise _bad("root") from exc
    if len(root) != 32:
        raise _bad("length of the root")
    return Checkpoint(keys.name, size, root, raw, key)


def _bad(what: str) -> VerificationError:
    return VerificationError("CHECKPOINT_INVALID", f"the checkpoint is not valid: {what}")
