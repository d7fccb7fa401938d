"""Whether an address can be listened at: asked before anything heavy is loaded or started."""

import errno
import socket
from typing import Any

from genepool_protocol.wire.errors import InvalidInput, Unavailable
from genepool_server.config import Address


def check_free(address: Address) -> None:
    """Refuse an address that cannot be listened at, before anything is started.

    Raises:
        Unavailable: PORT_IN_USE.
        InvalidInput: OPTION_INVALID, the host is unknown here, or this user may not take the port.
    """
    try:
        found = socket.getaddrinfo(address.bare_host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as exc:
        raise _cannot_listen(address, "the host is unknown") from exc
    failures = [failure for family, kind, _, _, place in found if (failure := _probe(family, kind, place)) is not None]
    if any(failure.errno == errno.EADDRINUSE for failure in failures):
        raise taken(address)
    if len(failures) == len(found):
        raise _cannot_listen(address, failures[0].strerror or "it is refused")


def _probe(family: int, kind: int, place: Any) -> OSError | None:
    try:
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(place)
            probe.listen(1)
    except OSError as exc:
        return exc
    return None


def taken(address: Address) -> Unavailable:
    """The error of an address that somebody else has."""
    return Unavailable(
        "PORT_IN_USE",
        f"another program listens at {address}",
        "stop it, or choose another port with --listen HOST:PORT",
    )


def _cannot_listen(address: Address, why: str) -> InvalidInput:
    return InvalidInput(
        "OPTION_INVALID", f"the server cannot listen at {address}: {why}", "choose another with --listen"
    )
