"""Where a page of this process can be read: `PORT` or `HOST:PORT` in words, then a listening socket."""

import socket
from typing import Final

from genepool_protocol.wire.errors import InvalidInput, Unavailable

LOOPBACK: Final = "127.0.0.1"
"""Where a page is for which only a port is named."""

_LAST_PORT: Final = 0xFFFF
_BACKLOG: Final = 16


def place(text: str, what: str) -> tuple[str, int]:
    """Host and port of `PORT` or `HOST:PORT`; without a host it is this machine only.

    Args:
        text: what somebody wrote.
        what: is to be read there, for the sentence.

    Raises:
        InvalidInput: OPTION_INVALID.
    """
    host, _, port = text.rpartition(":")
    host = host or LOOPBACK
    if not port.isascii() or not port.isdigit() or int(port) > _LAST_PORT or any(map(str.isspace, host)) or "/" in host:
        raise InvalidInput(
            "OPTION_INVALID", f"{text[:300]!r} is no place for {what}", "write PORT or HOST:PORT: 127.0.0.1:9464"
        )
    return host, int(port)


def listening(host: str, port: int, what: str) -> socket.socket:
    """A socket that listens there; port 0 takes a free one.

    Raises:
        InvalidInput: OPTION_INVALID, the host is unknown.
        Unavailable: PORT_IN_USE.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
    except socket.gaierror as exc:
        raise InvalidInput(
            "OPTION_INVALID", f"the host {host[:253]!r} for {what} is unknown", "name an address of this machine"
        ) from exc
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as exc:
        listener.close()
        raise Unavailable(
            "PORT_IN_USE", f"{what} cannot listen at {host}:{port}: {exc.strerror}", "choose another port"
        ) from exc
    return listener
