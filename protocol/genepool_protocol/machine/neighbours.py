"""Flower's local servers answer this user's own processes only.

Flower's control and runtime interfaces know no log-in on loopback, and whoever reaches them has his code run as the
user who started Flower. The kernel knows which user a loopback connection comes from, so it is asked.
"""

import ipaddress
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from genepool_protocol.wire.errors import VersionMismatch

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]
Address = tuple[str, int]

_CONNECTIONS: Final = Path("/proc/net/tcp")
_ESTABLISHED: Final = "01"  # only then the row's user is the socket's


class OwnUserOnly:
    """An ASGI application that other users of this machine cannot reach.

    Args:
        app: what is behind it.
        users: who may; by default who runs this process.
    """

    def __init__(self, app: App, users: frozenset[int] | None = None) -> None:
        self._app = app
        self._users = frozenset({os.getuid()}) if users is None else users

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        """Pass a request on, or answer 403."""
        if scope["type"] == "lifespan" or self._admits(scope):
            await self._app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 403, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    def _admits(self, scope: Message) -> bool:
        client, server = scope.get("client"), scope.get("server")
        if scope["type"] != "http" or not client or not server:
            return False
        rows = _CONNECTIONS.read_text().splitlines()[1:]
        return user_of(rows, (client[0], client[1]), (server[0], server[1])) in self._users


def user_of(rows: Iterable[str], client: Address, server: Address) -> int | None:
    """The user who holds the client's end of a connection on this machine; None when there is none.

    Args:
        rows: of /proc/net/tcp, without the heading.
        client: IPv4 address and port of the end that is asked about.
        server: those of our end.
    """
    ends = [_hexadecimal(*client), _hexadecimal(*server)]
    for row in rows:
        fields = row.split()
        if fields[1:3] == ends and fields[3] == _ESTABLISHED:
            return int(fields[7])
    return None


def _hexadecimal(host: str, port: int) -> str:
    try:
        octets = ipaddress.IPv4Address(host).packed
    except ipaddress.AddressValueError:
        return ""  # in this table there is nobody else
    return f"{int.from_bytes(octets, sys.byteorder):08X}:{port:04X}"


def shut_out(module: ModuleType) -> None:
    """Put `OwnUserOnly` before the application that a module of flwr makes; nothing where /proc is missing.

    Raises:
        VersionMismatch: API_VERSION, the module makes none.
    """
    create = getattr(module, "create_app", None)
    if not callable(create):
        raise VersionMismatch("API_VERSION", f"{module.__name__} of flwr has no create_app", "install genepool[site]")
    if _CONNECTIONS.exists():
        module.__dict__["create_app"] = lambda *args, **options: OwnUserOnly(create(*args, **options))
