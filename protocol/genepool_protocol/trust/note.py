"""C2SP signed notes: a text, and lines that say who signed it."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from genepool_protocol.trust.encoding import b64
from genepool_protocol.trust.keys import LogSigner, LogVerifier
from genepool_protocol.wire.errors import VerificationError

_LINE: Final = re.compile("\N{EM DASH} ([^\\s+]+) ([A-Za-z0-9+/]+={0,2})")
_UNFIT: Final = re.compile(r"[\x00-\x09\x0b-\x1f\ud800-\udfff]")
"""Control characters other than the end of a line, and halves of letters that have no UTF-8."""
_MAX_BYTES: Final = 16 << 10
_MAX_SIGNATURES: Final = 16


@dataclass(frozen=True, slots=True)
class VerifiedNote:
    """A note's text, after a signature of a known key was checked; `raw` is the whole note."""

    text: str
    raw: str


def _bad(why: str) -> VerificationError:
    return VerificationError("CHECKPOINT_INVALID", f"the signed note is not valid: {why}")


def sign(text: str, signer: LogSigner) -> str:
    """The note of a text that ends in a newline."""
    return f"{text}\n" + line(signer.name, signer.public.note_id + signer.sign(text.encode()))


def verify(raw: str, key: LogVerifier) -> VerifiedNote:
    """Check that the key signed the note; signatures by other keys are passed over.

    Raises:
        VerificationError: CHECKPOINT_INVALID.
    """
    text, lines = _parts(raw)
    for name, signature in _signatures(lines):
        if name != key.name or signature[:4] != key.note_id:
            continue
        if not key.holds(signature[4:], text.encode()):
            raise _bad("the signature was made by another key or over another text")
        return VerifiedNote(text, raw)
    raise _bad(f"{key.name} did not sign it")


def signatures(raw: str) -> tuple[str, list[tuple[str, bytes]]]:
    """A note's text and (name, four bytes of key hash and signature) of each line. No signature is checked.

    Raises:
        VerificationError: CHECKPOINT_INVALID.
    """
    text, lines = _parts(raw)
    return text, _signatures(lines)


def line(name: str, signature: bytes) -> str:
    """A signature line; `signature` begins with the four bytes that select the key."""
    return f"\N{EM DASH} {name} {b64(signature)}\n"


def _parts(raw: str) -> tuple[str, list[str]]:
    if len(raw.encode(errors="replace")) > _MAX_BYTES or not raw.endswith("\n"):
        raise _bad("it is too long, or has no last newline")
    if _UNFIT.search(raw):
        raise _bad("it holds control characters, or text that has no UTF-8")
    end = raw.rfind("\n\n")
    lines = raw[end + 2 :].split("\n")[:-1]
    if end < 0 or not 1 <= len(lines) <= _MAX_SIGNATURES:
        raise _bad(f"it does not have 1 to {_MAX_SIGNATURES} signatures after an empty line")
    return raw[: end + 1], lines


def _signatures(lines: Sequence[str]) -> list[tuple[str, bytes]]:
    signatures = []
    for line in lines:
        match = _LINE.fullmatch(line)
        try:
            raw = base64.b64decode(match[2], validate=True) if match else b""
        except ValueError:
            raw = b""
        if match is None or len(raw) < 5 or b64(raw) != match[2]:
            raise _bad("a signature line is malformed")
        signatures.append((match[1], raw))
    return signatures
