"""What a TLS ClientHello says in the clear (RFC 8446, 4.1.2): the server's name and the protocols that follow."""

from dataclasses import dataclass
from typing import Final, Self

LARGEST: Final = 16 << 10
"""Bytes of a ClientHello with its records; one with post-quantum key shares has some 2,000."""

_RECORD: Final = 5  # bytes before each record's content
_HANDSHAKE: Final = 0x16
_CLIENT_HELLO: Final = 0x01
_BEFORE_SESSION: Final = 2 + 32  # version and random number
_SERVER_NAME: Final = 0
_PROTOCOLS: Final = 16


class NoHello(ValueError):  # noqa: N818 - what it is, not whose fault
    """These bytes do not begin a TLS connection."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What a client says before anything is encrypted.

    Attributes:
        name: of the server, in lower case; empty when none is asked for.
        protocols: that may follow (ALPN).
    """

    name: str
    protocols: tuple[str, ...]


class _Reader:
    """Takes numbers and blocks off a run of bytes."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = raw, 0

    def __bool__(self) -> bool:
        return self._at < len(self._raw)

    def rest(self) -> bytes:
        """Everything that is left."""
        return self.take(len(self._raw) - self._at)

    def take(self, count: int) -> bytes:
        """The next bytes."""
        end = self._at + count
        if end > len(self._raw):
            raise NoHello("a length is beyond the end")
        taken, self._at = self._raw[self._at : end], end
        return taken

    def number(self, size: int) -> int:
        """The next number of so many bytes."""
        return int.from_bytes(self.take(size))

    def block(self, size: int) -> Self:
        """The next block, which a number of so many bytes gives the length of."""
        return type(self)(self.take(self.number(size)))


def read(raw: bytes) -> Hello | None:
    """The ClientHello at the beginning of a connection; None: more bytes have to come.

    Args:
        raw: everything that has come.

    Raises:
        NoHello: it is none, or it is larger than `LARGEST`.
    """
    message = _message(raw)
    if message is None:
        if len(raw) >= LARGEST:
            raise NoHello("it is too large")
        return None
    body = _Reader(message)
    body.take(_BEFORE_SESSION)
    for size in (1, 2, 1):  # session, ciphers, compressions
        body.block(size)
    name, protocols = "", tuple[str, ...]()
    extensions = body.block(2) if body else _Reader(b"")
    while extensions:
        kind, content = extensions.number(2), extensions.block(2)
        if kind == _SERVER_NAME:
            name = _name(content)
        elif kind == _PROTOCOLS:
            protocols = _protocols(content)
    return Hello(name, protocols)


def _message(raw: bytes) -> bytes | None:
    """The body of the first handshake message, out of its records; None: there is more of it to come."""
    handshake, at = b"", 0
    while True:
        if handshake[:1] not in (b"", bytes([_CLIENT_HELLO])):
            raise NoHello("it begins with another message")
        if len(handshake) >= 4:
            size = 4 + int.from_bytes(handshake[1:4])
            if size > LARGEST:
                raise NoHello("it is too large")
            if len(handshake) >= size:
                return handshake[4:size]
        if not bytes([_HANDSHAKE, 3]).startswith(raw[at : at + 2]):
            raise NoHello("it does not begin as TLS")
        if len(raw) < at + _RECORD:
            return None
        length = int.from_bytes(raw[at + 3 : at + _RECORD])
        if not length:
            raise NoHello("a record is empty")
        if len(raw) < at + _RECORD + length:
            return None
        handshake += raw[at + _RECORD : at + _RECORD + length]
        at += _RECORD + length


def _name(content: _Reader) -> str:
    names = content.block(2)
    while names:
        kind, name = names.number(1), names.block(2)
        if kind == 0:
            return _text(name)
    return ""


def _protocols(content: _Reader) -> tuple[str, ...]:
    names, protocols = content.block(2), []
    while names:
        protocols.append(_text(names.block(1)))
    return tuple(protocols)


def _text(name: _Reader) -> str:
    return name.rest().decode("ascii", "replace").lower()
