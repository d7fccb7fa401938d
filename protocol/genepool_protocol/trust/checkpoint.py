"""The log's signed tree head: a C2SP checkpoint of exactly three lines, without extensions."""

import re
from dataclasses import dataclass
from typing import Final

from genepool_protocol.trust import note
from genepool_protocol.trust.encoding import b64, unb64
from genepool_protocol.trust.keys import LogSigner, LogVerifier
from genepool_protocol.wire.errors import GenepoolError, VerificationError

_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,15}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Origin, size and root of the tree, as its log signed it; `note` is the signed text.

    Made by `sign` and `verify` only, so holding one means that the log's signature was checked.
    """

    origin: str
    size: int
    root: bytes
    note: str


def sign(size: int, root: bytes, signer: LogSigner) -> Checkpoint:
    """The signed head of the signer's log."""
    return Checkpoint(signer.name, size, root, note.sign(f"{signer.name}\n{size}\n{b64(root)}\n", signer))


def verify(raw: str, key: LogVerifier) -> Checkpoint:
    """Check a checkpoint against the log's pinned key; its origin must be the key's name.

    Raises:
        VerificationError: CHECKPOINT_INVALID.
    """
    lines = note.verify(raw, key).text.split("\n")
    if len(lines) != 4 or lines[0] != key.name or not _SIZE.fullmatch(lines[1]):
        raise _bad("origin, size or number of lines")
    try:
        root = unb64(lines[2], "root")
    except GenepoolError as exc:
        raise _bad("root") from exc
    if len(root) != 32:
        raise _bad("length of the root")
    return Checkpoint(key.name, int(lines[1]), root, raw)


def _bad(what: str) -> VerificationError:
    return VerificationError("CHECKPOINT_INVALID", f"the checkpoint is not valid: {what}")
