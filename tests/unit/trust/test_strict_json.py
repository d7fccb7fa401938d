"""JSON that means one thing."""

import json

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from genepool_protocol.trust import strict_json
from genepool_protocol.wire.errors import InvalidInput
from genepool_protocol.wire.limits import LIMITS


def refused(raw: bytes, **options) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        strict_json.loads(raw, **({"max_bytes": 1 << 20, "what": "thing"} | options))
    assert caught.value.reason == "JSON_MALFORMED"
    return caught.value


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nothing",
        b'{"a":1',
        b"{} {}",
        b'{"a":1,"a":1}',
        b'{"a":{"b":1,"b":2}}',
        b"1.0",
        b"1e3",
        b"-1E-2",
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1234567890123456",
        b"-123456789012345",
        b'"\xff"',
        b'\xef\xbb\xbf{"a":1}',
        b'"\\ud800"',
        b'{"\\udfff":1}',
        b'"\\udc00\\ud800"',
        b"[" * (LIMITS.json_depth + 1) + b"]" * (LIMITS.json_depth + 1),
        b'"\t"',
    ],
)
def test_what_has_two_meanings_is_refused(raw):
    refused(raw)


def test_a_refusal_names_the_document_and_never_repeats_it():
    sentence = refused(b'{"secret":1,"secret":2}', what="invitation").message
    assert "invitation" in sentence
    assert "secret" not in sentence


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a":[1,-2,true,null,"x"]}', {"a": [1, -2, True, None, "x"]}),
        (b'"\\ud83d\\ude00 \\u0041"', "\U0001f600 A"),
        (b'"\\\\ud800"', "\\ud800"),
        (b"999999999999999", 999999999999999),
        (b"[" * LIMITS.json_depth + b"]" * LIMITS.json_depth, json.loads("[" * 16 + "]" * 16)),
        (b'["' + b"[" * 99 + b'\\""]', ["[" * 99 + '"']),
    ],
)
def test_what_has_one_meaning_is_read(raw, value):
    assert strict_json.loads(raw, max_bytes=1 << 20, what="thing") == value


def test_floats_are_read_only_when_they_are_allowed():
    refused(b"[0.5]")
    assert strict_json.loads(b"[0.5]", max_bytes=9, what="thing", floats=True) == [0.5]
    refused(b"[NaN]", floats=True)
    refused(b"[1e999]", floats=True)
    refused(b"[-1e999]", floats=True)


def test_a_long_document_is_not_looked_at():
    refused(b'"' + b"x" * 100 + b'"', max_bytes=101)
    assert strict_json.loads(b'"' + b"x" * 100 + b'"', max_bytes=102, what="thing") == "x" * 100


@pytest.mark.parametrize("raw", [b'{"b":1,"a":2}', b'{"a": 1}', b'"\\u0041"', b"-0", b'{"a":1}\n', b'"\\/"'])
def test_only_canonical_bytes_are_canonical(raw):
    strict_json.loads(raw, max_bytes=99, what="thing")
    with pytest.raises(InvalidInput) as caught:
        strict_json.loads_canonical(raw, max_bytes=99, what="thing")
    assert caught.value.reason == "JSON_MALFORMED"


def test_many_quotes_without_an_end_take_no_time():
    refused(b'{"' + b'\\"' * 100_000, max_bytes=1 << 20)
    refused(b'"' * 100_001, max_bytes=1 << 20)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**14) + 1, 10**15 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_canonical_bytes_come_back_as_the_value(value):
    raw = strict_json.canonical(value)
    assert strict_json.loads_canonical(raw, max_bytes=1 << 20, what="thing") == value
    assert strict_json.loads(json.dumps(value).encode(), max_bytes=1 << 20, what="thing") == value


@given(VALUES, st.booleans(), st.sampled_from([(",", ":"), (", ", ": ")]))
def test_bytes_are_canonical_exactly_where_rfc_8785_writes_them(value, ascii_only, separators):
    raw = json.dumps(value, ensure_ascii=ascii_only, separators=separators).encode(errors="replace")
    said = json.loads(raw)
    try:
        assert strict_json.loads_canonical(raw, max_bytes=1 << 20, what="thing") == said
    except InvalidInput:
        assert raw != rfc8785.dumps(said)
    else:
        assert raw == rfc8785.dumps(said)


@given(st.binary(max_size=64) | st.text(alphabet='{}[]":,\\u0d8Fe19-.tn \n', max_size=40).map(str.encode))
@example(b'"\\')
def test_any_bytes_are_read_or_refused_and_nothing_else(raw):
    try:
        value = strict_json.loads(raw, max_bytes=1 << 10, what="thing")
    except InvalidInput:
        return
    else:
        assert value == json.loads(raw)
        strict_json.canonical(value)


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        (b'{\n  "a": 1,\n  b: 2\n}', "line 3, column 3"),
        (b'{"a": 1\n "b": 2}', "line 2, column 2"),
        (b'{"a":\n"\xff"}', "line 2, column 2"),
        (b"", "line 1, column 1"),
    ],
)
def test_what_a_person_mistyped_is_told_with_its_place(raw, where):
    with pytest.raises(InvalidInput) as caught:
        strict_json.loads(raw, max_bytes=100, what="file")
    assert where in caught.value.message


def test_a_byte_order_mark_is_an_editors_and_no_document_s():
    assert strict_json.loads(strict_json.edited(b'\xef\xbb\xbf{"a":1}'), max_bytes=100, what="file") == {"a": 1}
    with pytest.raises(InvalidInput):
        strict_json.loads(b'\xef\xbb\xbf{"a":1}', max_bytes=100, what="file")
