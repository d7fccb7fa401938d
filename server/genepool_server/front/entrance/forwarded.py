"""The PROXY protocol, versions 1 and 2: how a proxy in front says from which address a connection came."""

import ipaddress
import struct
from typing import Final

LARGEST: Final = 1 << 10
"""Bytes of a header; version 1 has at most 107, version 2 more where the proxy adds facts."""

_FIRST: Final = b"PROXY "
_SECOND: Final = b"\r\n\r\n\0\r\nQUIT\n"
_LINE: Final = 107
_FAMILIES: Final = {1: 4, 2: 16}  # of version 2: bytes of an address
_TCP: Final = 1


class NoHeader(ValueError):  # noqa: N818 - what it is, not whose fault
    """These bytes are no header of the PROXY protocol."""


def read(raw: bytes) -> tuple[str, bytes] | None:
    """The address that a header names, and what follows it; None: more bytes have to come.

    The address is empty where the proxy speaks for itself, as its health checks do.

    Args:
        raw: everything that has come.

    Raises:
        NoHeader: it does not begin with one.
    """
    if _FIRST.startswith(raw[: len(_FIRST)]):
        return _first(raw)
    if _SECOND.startswith(raw[: len(_SECOND)]):
        return _second(raw)
    raise NoHeader("it begins with neither version")


def _first(raw: bytes) -> tuple[str, bytes] | None:
    line, end, rest = raw[:_LINE].partition(b"\r\n")
    if not end:
        if len(raw) >= _LINE:
            raise NoHeader("the line is too long")
        return None
    words = line.split(b" ")
    if words[1:2] == [b"UNKNOWN"]:
        return "", rest + raw[_LINE:]
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise NoHeader("the line is none of TCP")
    return _address(words[2].decode("ascii", "replace")), rest + raw[_LINE:]


def _second(raw: bytes) -> tuple[str, bytes] | None:
    start = len(_SECOND) + 4
    if len(raw) < start:
        return None
    command, family, length = struct.unpack(">BBH", raw[len(_SECOND) : start])
    if command >> 4 != 2 or start + length > LARGEST:
        raise NoHeader("it is of another version, or too long")
    if len(raw) < start + length:
        return None
    content, rest = raw[start : start + length], raw[start + length :]
    if command & 0xF == 0:
        return "", rest
    size = _FAMILIES.get(family >> 4, 0)
    if command & 0xF != 1 or family & 0xF != _TCP or not size or length < 2 * size + 4:
        raise NoHeader("it is not of a TCP connection")
    return str(ipaddress.ip_address(content[:size])), rest


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as exc:
        raise NoHeader("the line names no address") from exc
