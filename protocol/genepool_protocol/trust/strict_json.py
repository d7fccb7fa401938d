"""JSON that means one thing: no duplicate members, no floats, bounded depth; and RFC 8785 canonical bytes."""

import codecs
import json
import math
import re
from typing import Any, Final, NoReturn

import rfc8785

from genepool_protocol.wire.errors import InvalidInput
from genepool_protocol.wire.limits import LIMITS

_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_ASCII: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
"""Written in C; for what `loads` lets pass it writes the bytes of RFC 8785, where all letters are ASCII."""
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


def loads(raw: bytes, *, max_bytes: int, what: str, floats: bool = False) -> Any:
    """The value of strict JSON bytes.

    Args:
        raw: UTF-8 without a byte order mark.
        max_bytes: largest length that is looked at.
        what: the document's name, for the sentence.
        floats: whether fractions and exponents are allowed.

    Raises:
        InvalidInput: JSON_MALFORMED.
    """

    def bad(why: str) -> NoReturn:
        raise InvalidInput("JSON_MALFORMED", f"the {what} is not strict JSON: {why}")

    def pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(members)
        if len(value) != len(members):
            bad("a member appears twice")
        return value

    def integer(text: str) -> int:
        return int(text) if len(text) <= 15 else bad("an integer has 16 or more digits")

    def fraction(text: str) -> float:
        value = float(text) if floats else bad("it holds a float")
        return value if math.isfinite(value) else bad("it holds a number without end")

    if len(raw) > max_bytes:
        bad(f"it has {len(raw)} bytes, at most {max_bytes} are allowed")
    if _depth(raw) > LIMITS.json_depth:
        bad(f"it nests deeper than {LIMITS.json_depth}")
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=pairs,
            parse_int=integer,
            parse_float=fraction,
            parse_constant=lambda name: bad(f"it holds {name}"),
        )
        if b"\\u" in raw:  # half a surrogate pair parses, but has no UTF-8
            json.dumps(value, ensure_ascii=False).encode()
    except (UnicodeError, json.JSONDecodeError, RecursionError) as exc:
        raise InvalidInput("JSON_MALFORMED", f"the {what} is not strict JSON: {_why(exc, raw)}") from exc
    return value


def _why(exc: Exception, raw: bytes) -> str:
    """What the parser found, and where."""
    if isinstance(exc, json.JSONDecodeError):
        return f"{exc.msg[:1].lower()}{exc.msg[1:]} at line {exc.lineno}, column {exc.colno}"
    return f"it is not UTF-8 at {place(raw, exc.start)}" if isinstance(exc, UnicodeDecodeError) else type(exc).__name__


def place(raw: bytes, at: int) -> str:
    """Line and column of a byte, both from 1, for a sentence."""
    before = raw[:at].split(b"\n")
    return f"line {len(before)}, column {len(before[-1]) + 1}"


def edited(raw: bytes) -> bytes:
    """What an editor saved, without the byte order mark that some put first."""
    return raw.removeprefix(codecs.BOM_UTF8)


def _depth(raw: bytes) -> int:
    """Deepest nesting, counted before a recursive parser runs; strings are skipped."""
    deepest = depth = 0
    for byte in _STRING.sub(b"", raw).translate(None, _NOT_BRACKETS):
        depth += 1 if byte in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def canonical(value: Any) -> bytes:
    """RFC 8785 bytes of a value."""
    return rfc8785.dumps(value)


def loads_canonical(raw: bytes, *, max_bytes: int, what: str) -> Any:
    """The value of bytes that are exactly the canonical form of what they say.

    Raises:
        InvalidInput: JSON_MALFORMED.
    """
    value = loads(raw, max_bytes=max_bytes, what=what)
    plain = raw.isascii() and b"\\u" not in raw  # then so is every name and text in it
    if (_ASCII.encode(value).encode() if plain else canonical(value)) != raw:
        raise InvalidInput("JSON_MALFORMED", f"the {what} is not in canonical form (RFC 8785)")
    return value
