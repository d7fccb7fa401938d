"""For whom a proxy comes: both versions of the PROXY protocol, and what is none."""

import struct

import pytest

from genepool_server.front.entrance import forwarded
from genepool_server.front.entrance.forwarded import NoHeader

SECOND = b"\r\n\r\n\0\r\nQUIT\n"
V4 = bytes([192, 0, 2, 7, 192, 0, 2, 1]) + struct.pack(">HH", 56324, 443)
V6 = bytes.fromhex("20010db8000000000000000000000007") + bytes(16) + struct.pack(">HH", 56324, 443)


def second(command: int, family: int, content: bytes) -> bytes:
    return SECOND + struct.pack(">BBH", command, family, len(content)) + content


HEADERS = {
    b"PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\r\n": "192.0.2.7",
    b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n": "2001:db8::7",
    b"PROXY UNKNOWN\r\n": "",
    b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n": "",
    second(0x21, 0x11, V4): "192.0.2.7",
    second(0x21, 0x11, V4 + b"\x03\x00\x04abcd"): "192.0.2.7",  # with a fact more
    second(0x21, 0x21, V6): "2001:db8::7",
    second(0x20, 0x00, b""): "",  # the proxy's own health check
}


@pytest.mark.parametrize("raw", HEADERS)
def test_the_address_and_what_follows(raw):
    rest = b"\x16\x03\x01" + bytes(200)
    assert forwarded.read(raw + rest) == (HEADERS[raw], rest)
    assert all(forwarded.read(raw[:end]) is None for end in range(len(raw)))


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01",
        b"PROXY TCP4 hospital 192.0.2.1 56324 443\r\n",
        b"PROXY TCP4 192.0.2.7\r\n",
        b"PROXY UDP4 192.0.2.7 192.0.2.1 56324 443\r\n",
        b"PROXY TCP4 " + b"1" * 200,
        second(0x11, 0x11, V4),  # version 1 in the form of version 2
        second(0x21, 0x12, V4),  # UDP
        second(0x21, 0x31, bytes(216)),  # a socket of one machine
        second(0x21, 0x11, V4[:8]),
        SECOND + b"\x21\x11\xff\xff",
    ],
)
def test_what_is_none_is_refused(raw):
    with pytest.raises(NoHeader):
        forwarded.read(raw)
