"""Breaks valid examples in ways that parsers get wrong; which ways, a short program of bytes says.

A program is a string of bytes of four each: operation, place (two), value. So hypothesis shrinks it, a random generator
writes it, and the same program over the same examples gives the same bytes.
"""

import base64
import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

STEP = 4
PIECES = [
    *(b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\", b"\0", b" ", b"\t", b"=", b"==", b"/", b"../"),
    *(b"\r\n", b"\n\n", b"\xef\xbb\xbf", b"\xff", b"\xc0\x80", b"\xe2\x80\xa8", b"\xd9\xa3", b"\xe2\x80\x94 "),
    *(b"\\ud800", b"\\udc00\\ud800", b"\xed\xa0\x80", b"NaN", b"-Infinity", b"1e999", b"-0", b"0.0", b"00"),
    *(b"9" * 15, b"9" * 16, b"9" * 5000, b"-" + b"9" * 400, b"[" * 17, b"[" * 20000, b'{"a":' * 3000),
    *(b"true", b"null", b"x000/", b".p/256", b'"schema_":', b'"__proto__":1,', b"-----BEGIN "),
]
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**20, 2**53 - 1, 10**15 - 1, -(10**15) + 1, 10**400, 0.0, 1e999, float("nan")),
    *("", " ", "\0", "a" * 200, "0", "-0", "00", "\u0663", "1e999", "9" * 5000, "\ud800", "=", "A===", "AB=="),
    *("../x", "0" * 64, "A" * 43, "2026-02-30T00:00:00Z", "2026-07-01T12:00:00Z\n", "9999-12-31T23:59:60Z"),
    *([], [[]], {}, {"": 0}, [0] * 5, [1] * 2000, ["a", "a"], [None], {"sha256": "0" * 64}),
]


def mutate(examples: Sequence[bytes], program: bytes) -> bytes:
    """The bytes that a program makes of one of the examples."""
    if not program:
        return examples[0]
    raw = examples[program[0] % len(examples)]
    for start in range(1, min(len(program), 1 + 8 * STEP), STEP):
        step = program[start : start + STEP].ljust(STEP, b"\0")
        place, value = int.from_bytes(step[1:3], "big"), step[3]
        raw = OPERATIONS[step[0] % len(OPERATIONS)](raw, place, value, examples)
    return raw


def _at(raw: bytes, place: int) -> int:
    return place * (len(raw) + 1) >> 16


def _flip(raw: bytes, place: int, value: int, _: Sequence[bytes]) -> bytes:
    if not raw:
        return raw
    changed = bytearray(raw)
    changed[place * len(raw) >> 16] ^= 1 << value % 8
    return bytes(changed)


def _set(raw: bytes, place: int, value: int, _: Sequence[bytes]) -> bytes:
    at = _at(raw, place)
    return raw[:at] + bytes([value]) + raw[at + 1 :]


def _cut(raw: bytes, place: int, value: int, _: Sequence[bytes]) -> bytes:
    at = _at(raw, place)
    return raw[:at] if value % 2 else raw[:at] + raw[at + value :]


def _insert(raw: bytes, place: int, value: int, _: Sequence[bytes]) -> bytes:
    at = _at(raw, place)
    return raw[:at] + PIECES[value % len(PIECES)] + raw[at:]


def _splice(raw: bytes, place: int, value: int, examples: Sequence[bytes]) -> bytes:
    other = examples[value % len(examples)]
    return raw[: _at(raw, place)] + other[_at(other, place * 7919 % 65536) :]


def _repeat(raw: bytes, place: int, value: int, _: Sequence[bytes]) -> bytes:
    at = _at(raw, place)
    return raw[:at] + raw[at : at + value] * 2 + raw[at + value :]


def _crlf(raw: bytes, _place: int, value: int, _: Sequence[bytes]) -> bytes:
    return raw.replace(b"\n", [b"\r\n", b"\r", b"\n\n", b""][value % 4])


def _length(raw: bytes, place: int, value: int, _: Sequence[bytes]) -> bytes:
    """The first eight bytes as a length: what a tensor file begins with."""
    return (place << value % 64 & (1 << 64) - 1).to_bytes(8, "little") + raw[8:]


def _tree(
    change: Callable[[list[tuple[Any, Any]], int, int], None],
) -> Callable[[bytes, int, int, Sequence[bytes]], bytes]:
    """An operation on the JSON inside the bytes, if there is any; behind eight length bytes in a tensor file."""

    def operation(raw: bytes, place: int, value: int, _: Sequence[bytes]) -> bytes:
        binary = not raw.startswith((b"{", b"["))
        head, tail = raw, b""
        if binary:
            length = int.from_bytes(raw[:8], "little")
            head, tail = raw[8 : 8 + length], raw[8 + length :]
        try:
            root = [json.loads(head)]
            nodes = _nodes(root)
        except (ValueError, RecursionError):
            return raw
        if place % 2:  # there are many more places deep inside
            nodes = nodes[:1] + [node for node in nodes if node[0] is root[0]]
        change(nodes, place // 2, value)
        text = json.dumps(root[0], separators=(",", ":"), sort_keys=value % 8 != 0, ensure_ascii=False)
        made = text.encode(errors="surrogatepass")
        if binary:
            made += b" " * (-len(made) % 8)
            return len(made).to_bytes(8, "little") + made + tail
        return made

    return operation


def _nodes(container: Any) -> list[tuple[Any, Any]]:
    """Every place in a JSON value: the container and the key or index."""
    found = []
    for key in list(container if isinstance(container, dict) else range(len(container))):
        found.append((container, key))
        if isinstance(container[key], dict | list):
            found += _nodes(container[key])
    return found


def _put(nodes: list[tuple[Any, Any]], place: int, value: int) -> None:
    container, key = nodes[place % len(nodes)]
    container[key] = copy.deepcopy(VALUES[value % len(VALUES)])


def _drop(nodes: list[tuple[Any, Any]], place: int, _value: int) -> None:
    container, key = nodes[place % len(nodes)]
    if len(nodes) > 1 and container is not nodes[0][0]:
        del container[key]


def _rename(nodes: list[tuple[Any, Any]], place: int, value: int) -> None:
    container, key = nodes[place % len(nodes)]
    if isinstance(container, dict):
        container[[f"{key}_", f"_{key}", key.upper(), "", "__metadata__", "a\0b"][value % 6]] = container.pop(key)


def _move(nodes: list[tuple[Any, Any]], place: int, value: int) -> None:
    """One place gets what another holds."""
    (container, key), (source, name) = nodes[place % len(nodes)], nodes[(place >> 8) * 31 % len(nodes)]
    moved = copy.deepcopy(source[name])
    container[key] = moved if value % 4 else [moved, moved]


def _text(nodes: list[tuple[Any, Any]], place: int, value: int) -> None:
    """A text or number that is nearly the old one, also inside base64."""
    container, key = nodes[place % len(nodes)]
    old = container[key]
    if isinstance(old, str):
        changes = [
            old + "\n",
            old[:-1],
            "0" + old,
            old + "=",
            old.upper(),
            old * 2,
            old + "\u2028",
            _inside(old, place, value),
        ]
        container[key] = changes[value % len(changes)]
    elif isinstance(old, int) and not isinstance(old, bool):
        container[key] = [old + 1, old - 1, -old, old * 2, float(old) if abs(old) < 2**53 else old, str(old)][value % 6]


def _inside(old: str, place: int, value: int) -> str:
    try:
        raw = base64.b64decode(old, validate=True)
    except ValueError:
        return old
    return base64.b64encode(_flip(raw, place, value, ())).decode()


def _twice(raw: bytes, place: int, value: int, _: Sequence[bytes]) -> bytes:
    """A member twice: the text from one quote to the next comma again."""
    start = raw.find(b'"', _at(raw, place))
    end = raw.find(b",", start)
    return raw if start < 0 or end < 0 else raw[: end + 1] + raw[start : end + 1] + raw[end + 1 :]


OPERATIONS: list[Callable[[bytes, int, int, Sequence[bytes]], bytes]] = [
    *(_flip, _set, _cut, _insert, _splice, _repeat, _crlf, _length, _twice),
    *(_tree(change) for change in (_put, _put, _drop, _rename, _move, _text, _text)),
]
