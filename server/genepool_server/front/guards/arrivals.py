"""Who stands behind a connection that the entrance leads on: gRPC sees the entrance's own address, and no other."""

import ipaddress
from typing import Any, Final
from urllib.parse import unquote

INNER: Final = "127.71.0.1"
"""From where the entrance comes to the doors: an address of this machine that nobody else comes from by chance.

So whoever comes from there and is not in the table is a stranger, and never a program of this machine.
"""

_STRANGER: Final = "ipv4:0.0.0.0:0"


class Arrivals:
    """Which of the entrance's connections to the doors is whose. For one event loop."""

    def __init__(self) -> None:
        self._behind: dict[int, str] = {}

    def note(self, port: int, address: str) -> None:
        """A connection from that port of `INNER` is made for that IP address."""
        version = ipaddress.ip_address(address.partition("%")[0]).version
        self._behind[port] = f"ipv4:{address}:0" if version == 4 else f"ipv6:[{address}]:0"

    def forget(self, port: int) -> None:
        """The connection is over."""
        self._behind.pop(port, None)

    def led(self, context: Any) -> bool:
        """Whether a call came through the entrance."""
        return _inner_port(context.peer()) is not None

    def peer(self, context: Any) -> str:
        """Who calls, as gRPC would name it without the entrance (ipv4:192.0.2.7:0)."""
        peer: str = context.peer()
        port = _inner_port(peer)
        return peer if port is None else self._behind.get(port, _STRANGER)


def _inner_port(peer: str) -> int | None:
    kind, _, rest = unquote(peer).partition(":")
    host, _, port = rest.rpartition(":")
    return int(port) if kind == "ipv4" and host == INNER and port.isdigit() else None


ARRIVALS: Final = Arrivals()
"""Those of this process."""
