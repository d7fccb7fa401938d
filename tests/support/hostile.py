"""Safetensors files that break one rule each, by the rule's name; every rule of `tensors.parse_header` has one."""

import json
import struct

from genepool_protocol.wire.limits import LIMITS

GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def file(header, data: bytes = bytes(8), *, pad: bool = True, length: int | None = None) -> bytes:
    """A file of a header (a value, or its bytes) and data."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    if pad:
        raw += b" " * (-len(raw) % 8)
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def one(**changes) -> dict:
    return {"a": GOOD | changes}


HOSTILE: list[tuple[str, str, bytes]] = [
    ("TRUNCATED", "empty", b""),
    ("TRUNCATED", "three bytes", b"abc"),
    ("TRUNCATED", "length only", struct.pack("<Q", 0)),
    ("TOO_LARGE", "longer than the limit", file(one(), bytes(LIMITS.learngene_bytes))),
    ("HEADER_TOO_LARGE", "length of 2^63", file(one(), length=1 << 63)),
    ("HEADER_TOO_LARGE", "length of 100 MB", file(one(), length=100_000_000)),
    ("HEADER_TOO_LARGE", "name of 1 MiB", file({"x" * (1 << 20): GOOD})),
    ("HEADER_LENGTH", "not a multiple of 8", file(json.dumps(one()).encode() + b" " * 4, pad=False)),
    ("HEADER_LENGTH", "longer than the file", file(one(), length=1 << 12)),
    ("HEADER_START", "leading blank", file(b" " + json.dumps(one()).encode())),
    ("HEADER_START", "array", file(b"[]")),
    ("HEADER_START", "no header", file(b"", bytes(16))),
    ("HEADER_JSON", "trailing newline", file(json.dumps(one()).encode() + b"\n" * 8)),
    ("HEADER_JSON", "trailing nul", file(json.dumps(one()).encode() + b"\0" * 8)),
    ("HEADER_JSON", "no end", file(b'{"a":')),
    ("HEADER_JSON", "float in a shape", file(one(shape=[2.0]))),
    ("HEADER_JSON", "exponent in a shape", file(b'{"a":{"dtype":"F32","shape":[2e0],"data_offsets":[0,8]}}')),
    ("HEADER_JSON", "huge integer", file(one(shape=[1 << 62, 8]))),
    ("HEADER_JSON", "not a number", file(b'{"a":NaN}')),
    ("HEADER_JSON", "no UTF-8", file(b'{"\xff":1}')),
    ("HEADER_JSON", "half a surrogate pair", file(b'{"\\ud800":1}')),
    ("HEADER_JSON", "nested deeply", file(b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}")),
    ("HEADER_JSON", "tensor twice", file(b'{"a":%b,"a":%b}' % ((json.dumps(GOOD).encode(),) * 2))),
    ("HEADER_JSON", "member twice", file(b'{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}')),
    (
        "HEADER_JSON",
        "metadata twice",
        file(b'{"__metadata__":{},"__metadata__":{},"a":%b}' % json.dumps(GOOD).encode()),
    ),
    ("METADATA", "other metadata", file({"__metadata__": {"author": "x"}, **one()})),
    ("METADATA", "no text", file({"__metadata__": {"format": 1}, **one()})),
    ("METADATA", "array", file({"__metadata__": ["pt"], **one()})),
    ("TENSOR_COUNT", "no tensor", file({}, b"")),
    ("TENSOR_COUNT", "only metadata", file({"__metadata__": {"format": "pt"}}, b"")),
    (
        "TENSOR_COUNT",
        "too many",
        file(
            {f"t{i}": {"dtype": "F16", "shape": [1], "data_offsets": [2 * i, 2 * i + 2]} for i in range(1025)},
            bytes(2050),
        ),
    ),
    ("TENSOR_NAME", "path", file({"../../etc/x": GOOD})),
    ("TENSOR_NAME", "empty", file({"": GOOD})),
    ("TENSOR_NAME", "nul", file({"a\0b": GOOD})),
    ("TENSOR_NAME", "leading dot", file({".a": GOOD})),
    ("TENSOR_NAME", "trailing newline", file({"a\n": GOOD})),
    ("TENSOR_NAME", "homoglyph", file({"\N{CYRILLIC SMALL LETTER A}": GOOD})),
    ("TENSOR_NAME", "129 characters", file({"a" * 129: GOOD})),
    ("TENSOR_FIELDS", "another field", file(one(extra=1))),
    ("TENSOR_FIELDS", "a field less", file({"a": {"dtype": "F32", "shape": [2]}})),
    ("TENSOR_FIELDS", "array", file({"a": [1, 2]})),
    ("DTYPE", "bfloat16", file(one(dtype="BF16", shape=[4]))),
    ("DTYPE", "bool", file(one(dtype="BOOL", shape=[8]))),
    *(
        ("DTYPE", name, file(one(dtype=name, shape=shape)))
        for name, shape in [("F8_E4M3", [8]), ("F8_E5M2", [8]), ("F4", [16]), ("C64", [1]), ("I64", [1]), ("F64", [1])]
    ),
    ("DTYPE", "lower case", file(one(dtype="f32"))),
    ("DTYPE", "pickle", file(one(dtype="PICKLE"))),
    ("DTYPE", "array", file(one(dtype=["F32"]))),
    ("SHAPE", "empty axis", file(one(shape=[0], data_offsets=[0, 0]), b"")),
    ("SHAPE", "negative", file(one(shape=[-2]))),
    ("SHAPE", "two negatives", file(one(shape=[-1, -2]))),
    ("SHAPE", "five axes", file(one(shape=[1, 1, 1, 1, 2]))),
    ("SHAPE", "1,000 axes", file(one(shape=[1] * 1000))),
    ("SHAPE", "too long an axis", file(one(shape=[(1 << 20) + 1]))),
    ("SHAPE", "boolean", file(one(shape=[True, 2]))),
    ("SHAPE", "text", file(one(shape="2"))),
    ("OFFSETS", "one", file(one(data_offsets=[0]))),
    ("OFFSETS", "three", file(one(data_offsets=[0, 8, 8]))),
    ("OFFSETS", "negative", file(one(data_offsets=[-8, 0]))),
    ("OFFSETS", "boolean", file(one(data_offsets=[False, 8]))),
    ("OFFSETS", "text", file(one(data_offsets=["0", "8"]))),
    ("SIZE_MISMATCH", "too few bytes", file(one(data_offsets=[0, 4]), bytes(4))),
    ("SIZE_MISMATCH", "backwards", file(one(data_offsets=[8, 0]))),
    (
        "ALIGNMENT",
        "F32 behind half of one",
        file(
            {"a": {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]}, "b": GOOD | {"data_offsets": [2, 10]}},
            bytes(10),
        ),
    ),
    ("HOLE_OR_OVERLAP", "hole at the start", file(one(data_offsets=[8, 16]), bytes(16))),
    ("HOLE_OR_OVERLAP", "hole", file({"a": GOOD, "b": GOOD | {"data_offsets": [16, 24]}}, bytes(24))),
    ("HOLE_OR_OVERLAP", "overlap", file({"a": GOOD, "b": GOOD | {"data_offsets": [4, 12]}}, bytes(12))),
    ("HOLE_OR_OVERLAP", "same place", file({"a": GOOD, "b": GOOD})),
    ("TRAILING_OR_TRUNCATED", "one more byte", file(one(), bytes(9))),
    ("TRAILING_OR_TRUNCATED", "one byte less", file(one(), bytes(7))),
    ("TRAILING_OR_TRUNCATED", "an archive behind it", file(one(), bytes(8) + b"PK\x05\x06" + bytes(18))),
]
