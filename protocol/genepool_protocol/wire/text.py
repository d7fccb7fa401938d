"""Text that somebody else wrote: whether it is printable, and how what is not is shown."""

import unicodedata
from typing import Final

from genepool_protocol.wire.errors import InvalidInput

_INVISIBLE: Final = frozenset(
    map(chr, [0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0x180B, 0x1810)])
) | frozenset(map(chr, [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]))
"""Letters and marks that leave no trace on a screen, which Python calls printable."""


def is_printable(text: str) -> bool:
    """Whether every character shows: no control, no bidirectional or zero-width one, no line break, no odd space."""
    return text.isprintable() and _INVISIBLE.isdisjoint(text)


def shown(text: object) -> str:
    r"""One line of text in which every character shows; the others stand there as `\x1b`, `\n` or `\u202e`.

    A backslash stays as it is: this is for eyes, and not to be undone.
    """
    line = str(text)
    return (
        line
        if is_printable(line)
        else "".join(character if is_printable(character) else _escaped(character) for character in line)
    )


def _escaped(character: str) -> str:
    number = ord(character)
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    form = "\\x{:02x}" if number < 0x100 else "\\u{:04x}" if number < 0x10000 else "\\U{:08x}"
    return short or form.format(number)


def require(text: str, what: str) -> str:
    """A text of the other side, which must be printable.

    Raises:
        InvalidInput: FILE_MALFORMED.
    """
    if not is_printable(text):
        raise InvalidInput("FILE_MALFORMED", f"{what} is not printable: {shown(text)[:120]}", "tell who sent it")
    return text


def hidden(text: str) -> str:
    """The first character that is not printable, as U+XXXX and its name; empty when all are."""
    first = next((character for character in text if not is_printable(character)), "")
    return f"U+{ord(first):04X} {unicodedata.name(first, 'control')}" if first else ""
