"""Addresses, and whether one can be listened at: asked before anything heavy is loaded or started."""

import errno
import re
import socket
from dataclasses import dataclass
from typing import Any, Final, Self

from genepool_protocol.wire.errors import InvalidInput, Unavailable

HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\]")
"""A host name, an IPv4 address, or an IPv6 address in brackets."""

LAST_PORT: Final = 0xFFFF
_WILDCARDS: Final = ("0.0.0.0", "[::]")  # noqa: S104 - only compared with


@dataclass(frozen=True, slots=True)
class Address:
    """A host name or IP address (IPv6 in brackets), and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """`HOST:PORT`.

        Raises:
            InvalidInput: OPTION_INVALID.
        """
        host, _, port = text.rpartition(":")
        if not HOST.fullmatch(host) or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > LAST_PORT:
            raise InvalidInput(
                "OPTION_INVALID",
                f"the address {text[:300]!r} is not HOST:PORT",
                "write for instance 127.0.0.1:8470, 0.0.0.0:8470 or [::1]:8470",
            )
        return cls(host, int(port))

    @property
    def bare_host(self) -> str:
        """The host without brackets."""
        return self.host.strip("[]")

    @property
    def everywhere(self) -> bool:
        """Whether this stands for every interface, so that nobody can connect to the name itself."""
        return self.host in _WILDCARDS

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def check_free(address: Address) -> None:
    """Refuse an address that cannot be listened at, before anything is started.

    Raises:
        Unavailable: PORT_IN_USE.
        InvalidInput: OPTION_INVALID, the host is unknown here, or this user may not take the port.
    """
    try:
        candidates = socket.getaddrinfo(
            address.bare_host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as exc:
        raise _cannot_listen(address, "the host is unknown") from exc
    failures = [
        failure for family, kind, _, _, place in candidates if (failure := _probe(family, kind, place)) is not None
    ]
    if any(failure.errno == errno.EADDRINUSE for failure in failures):
        raise taken(address)
    if len(failures) == len(candidates):
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
