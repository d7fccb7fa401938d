"""What a ClientHello says: OpenSSL's own, whole, in pieces, over several records, and bytes that are none."""

import ssl
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genepool_server.front.entrance import hello
from genepool_server.front.entrance.hello import Hello, NoHello


def said(name: str | None, protocols: list[str]) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.create_default_context()
    context.check_hostname = False
    if protocols:
        context.set_alpn_protocols(protocols)
    read, written = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(read, written, server_hostname=name).do_handshake()
    return written.read()


def in_records(raw: bytes, size: int) -> bytes:
    """The same message in records of so many bytes."""
    head, message = raw[:3], raw[5:]
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(head + len(part).to_bytes(2) + part for part in parts)


@pytest.mark.parametrize(
    ("name", "protocols"),
    [("Sites.Pool.Example", ["h2"]), ("pool.example", ["grpc-exp", "h2"]), ("127.0.0.1", ["http/1.1"]), (None, [])],
)
def test_name_and_protocols_are_read(name, protocols):
    expected = "" if name in (None, "127.0.0.1") else name.lower()  # an address is not sent
    assert hello.read(said(name, protocols)) == Hello(expected, tuple(protocols))


def test_what_follows_is_left_alone():
    raw = said("pool.example", ["h2"])
    assert hello.read(raw + b"\x17\x03\x03 anything") == hello.read(raw)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_it_may_come_in_any_pieces(size):
    raw = in_records(said("pool.example", ["h2"]), size)
    assert all(hello.read(raw[:end]) is None for end in range(len(raw)))
    assert hello.read(raw) == Hello("pool.example", ("h2",))


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n",
        b"\x16\x02",
        b"\x16\x03\x01\x00\x00",  # an empty record, which could be repeated for ever
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",  # a ServerHello
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
        b"\x16\x03\x01\x00\x08\x01\x00\x00\x04\x03\x03\x00\x00",  # it ends in the random number
    ],
)
def test_what_is_none_is_refused_at_once(raw):
    with pytest.raises(NoHello):
        hello.read(raw)


def test_a_length_beyond_the_end_is_refused():
    raw = bytearray(said("pool.example", ["h2"]))
    raw[raw.index(b"pool.example") - 1] = 0xFF
    with pytest.raises(NoHello):
        hello.read(bytes(raw))


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6), st.integers(0, 600))
def test_whatever_comes_is_read_refused_or_waited_for(changes, end):
    raw = bytearray(said("pool.example", ["h2"]))
    for at, byte in changes:
        raw[at % len(raw)] = byte
    with suppress(NoHello):
        hello.read(bytes(raw[:end]))
