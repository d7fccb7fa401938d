"""Laws of strict tensor files: any bytes are refused by a rule or read, and what is read the stock library reads."""

import json
import random

import numpy as np
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from genepool_protocol.learngene import tensors
from genepool_protocol.wire.errors import InvalidInput
from tests.support.hostile import HOSTILE

SMALL = [raw for _, _, raw in HOSTILE if len(raw) < 2000]
GOOD = [
    tensors.encode({"a": np.ones(2, np.float32), "b.c": np.zeros((2, 3), np.float32)}, "F32"),
    tensors.encode({"x": np.arange(6, dtype=np.float16).reshape(1, 2, 3)}, "F16"),
    tensors.encode({"s": np.array(1.0, np.float32)}, "F32"),
]
PIECES = [
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b":",
    b",",
    b" ",
    b"0",
    b"9",
    b"-",
    b"e",
    b".",
    b"F16",
    b"F32",
    b"BF16",
    b"null",
]
PIECES += [b"true", b'"a"', b"__metadata__", b"data_offsets", b"\0", b"\\u0061", b"\xff", b"1000000000000000"]


def outcome(raw: bytes) -> tensors.Header | InvalidInput:
    try:
        return tensors.parse_header(raw, len(raw))
    except InvalidInput as exc:
        return exc


def judge(raw: bytes) -> bool:
    """Whether we read it; then the stock library must read the same tensors."""
    header = outcome(raw)
    if isinstance(header, InvalidInput):
        assert header.reason == "SAFETENSORS_MALFORMED"
        assert header.metadata["rule"]
        return False
    found = safetensors.numpy.load(raw)
    assert {name: array.shape for name, array in found.items()} == header.layout
    for name, tensor in header.tensors.items():
        start = header.length
        assert found[name].tobytes() == raw[start + tensor.begin : start + tensor.end]
    return True


def mutant(rng: random.Random) -> bytes:
    raw = bytearray(rng.choice(GOOD if rng.random() < 0.7 else SMALL))
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at = rng.randrange(len(raw) + 1)
        match rng.randrange(5):
            case 0 if at < len(raw):
                raw[at] = rng.randrange(256)
            case 1:
                raw[at:at] = rng.choice(PIECES)
            case 2:
                del raw[at : at + rng.randrange(1, 9)]
            case 3 if at < len(raw):
                raw[at] ^= 1 << rng.randrange(8)
            case _:
                raw[at : at + 3] = rng.choice(PIECES)
    if rng.random() < 0.5 and len(raw) > 8:  # keep the length right, so that the inner rules are reached
        data = rng.choice([4, 8, 12, 32, 36])
        header = bytes(raw[8 : max(8, len(raw) - data)])
        header += b" " * (-len(header) % 8)
        raw = bytearray(len(header).to_bytes(8, "little") + header + raw[len(raw) - data :])
    return bytes(raw)


def test_twenty_thousand_mutants():
    rng, taken = random.Random(7), 0
    for _ in range(20_000):
        taken += judge(mutant(rng))
    assert taken > 100  # the mutants are near enough to the real thing


@settings(max_examples=200)
@given(st.binary(max_size=120))
def test_any_bytes(raw):
    judge(raw)


NAMES = st.text(st.sampled_from("ab.-_0/\0"), max_size=4) | st.just("__metadata__")
SHAPES = st.lists(st.integers(-1, 4) | st.booleans(), max_size=5)


@settings(max_examples=300)
@given(
    st.dictionaries(
        NAMES,
        st.fixed_dictionaries(
            {
                "dtype": st.sampled_from(["F32", "F16", "BF16", "I8"]),
                "shape": SHAPES,
                "data_offsets": st.lists(st.sampled_from([0, 2, 4, 8, 12, 16]), min_size=2, max_size=2),
            }
        ),
        max_size=3,
    ),
    st.sampled_from([0, 2, 4, 8, 12, 16]),
)
def test_any_header(header, data):
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    judge(len(raw).to_bytes(8, "little") + raw + bytes(data))


@settings(max_examples=80)
@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,20}", fullmatch=True).filter(lambda name: name != "__metadata__"),
        st.lists(st.integers(1, 4), max_size=4),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(["F32", "F16"]),
)
def test_whatever_is_written_is_read_by_both(shapes, dtype):
    rng = np.random.default_rng(0)
    written = {name: rng.standard_normal(shape).astype(tensors.DTYPES[dtype]) for name, shape in shapes.items()}
    raw = tensors.encode(written, dtype)
    assert judge(raw)
    found = safetensors.numpy.load(raw)
    assert all(np.array_equal(found[name], array) for name, array in written.items())
    stock = safetensors.numpy.save(written)
    header = tensors.parse_header(stock, len(stock))
    assert header.layout == {name: array.shape for name, array in written.items()}
