"""The listener of the entrance: takes connections, reads how they begin, and passes bytes both ways from then on."""

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections import Counter
from dataclasses import dataclass
from typing import Final

from genepool_server.front.entrance import forwarded, hello
from genepool_server.front.entrance.hello import Hello
from genepool_server.front.guards.arrivals import ARRIVALS, INNER
from genepool_server.net import Address, check_free, taken

_log = logging.getLogger(__name__)

_BACKLOG: Final = 1024
_CONNECT: Final = 5.0  # seconds to reach a door, which is on this machine
_SILENT: Final = 80_000  # milliseconds after which a client that confirms nothing is gone, as gRPC itself has it

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Ways:
    """Where connections are led.

    Attributes:
        certified_name: the server's name that clients with a certificate ask for.
        open: port on loopback for clients without one.
        certified: port on loopback for clients with one.
        gate: where a campaign's gate listens while there is one.
    """

    certified_name: str
    open: int
    certified: int
    gate: Address

    def of(self, said: Hello) -> int | None:
        """The door for a client; None: the gate, since Flower speaks HTTP/1.1."""
        if "h2" not in said.protocols:
            return None
        return self.certified if said.name == self.certified_name.lower() else self.open


@dataclass(frozen=True, slots=True)
class Room:
    """How much is let in.

    Attributes:
        total: connections at once.
        each: the same of one address (of IPv6: of its /64).
        seconds: for saying who one is and what one wants.
        proxies: networks whose proxies say for whom they come, in the PROXY protocol.
    """

    total: int
    each: int
    seconds: float
    proxies: tuple[Network, ...] = ()

    def is_proxy(self, address: str) -> bool:
        """Whether a connection from there begins with a header of the PROXY protocol."""
        ip = ipaddress.ip_address(address.partition("%")[0])
        return any(ip in network for network in self.proxies)


@dataclass(frozen=True, slots=True)
class Plan:
    """What an entrance is asked to be.

    Attributes:
        listen: where; port 0 takes a free one.
        certified_name: see `Ways`.
        gate: see `Ways`.
        room: how much is let in.
    """

    listen: Address
    certified_name: str
    gate: Address
    room: Room


class Entrance:
    """Takes its port at once, and begins to answer with `start`. For one event loop.

    Args:
        plan: where, and how much is let in.

    Attributes:
        bound: where it listens, with the real port.
        certified_name: see `Ways`.
        room: how much is let in.

    Raises:
        Unavailable: PORT_IN_USE.
        InvalidInput: OPTION_INVALID, nobody can listen there.
    """

    def __init__(self, plan: Plan) -> None:
        self.room, self.certified_name, self._gate = plan.room, plan.certified_name, plan.gate
        self._places: Counter[str] = Counter()
        self._guests: set[_Guest] = set()
        check_free(plan.listen)
        self._socket = _listener(plan.listen)
        self.bound = Address(plan.listen.host, int(self._socket.getsockname()[1]))
        self._server: asyncio.Server | None = None

    async def start(self, open_port: int, certified_port: int) -> None:
        """Lead connections from now on.

        Args:
            open_port: see `Ways`.
            certified_port: see `Ways`.
        """
        self.ways = Ways(self.certified_name, open_port, certified_port, self._gate)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Guest(self), sock=self._socket, backlog=_BACKLOG)

    def close(self) -> None:
        """Take no more connections; those that are there go on."""
        if self._server is None:
            self._socket.close()
        else:
            self._server.close()

    def stop(self) -> None:
        """End every connection."""
        self.close()
        for guest in list(self._guests):
            guest.end()

    def admit(self, guest: "_Guest", address: str) -> bool:
        """Whether there is a place for one more connection from that address; then it is taken."""
        name = _customer(address)
        if self._places.total() >= self.room.total or self._places[name] >= self.room.each:
            return False
        self._places[name] += 1
        guest.place = name
        return True

    def arrived(self, guest: "_Guest") -> bool:
        """Whether a connection may say what it wants: those that have not yet count, too."""
        if len(self._guests) >= 2 * self.room.total:
            return False
        self._guests.add(guest)
        return True

    def left(self, guest: "_Guest") -> None:
        """A connection is over."""
        self._guests.discard(guest)
        if guest.place:
            self._places[guest.place] -= 1
            if not self._places[guest.place]:
                del self._places[guest.place]


def _listener(listen: Address) -> socket.socket:
    host = listen.bare_host
    family = socket.getaddrinfo(host, listen.port, type=socket.SOCK_STREAM)[0][0]
    both = host == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((host, listen.port), family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    except OSError as exc:
        raise taken(listen) from exc


def _customer(address: str) -> str:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if ip.version == 6 and ip.ipv4_mapped is None:
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(getattr(ip, "ipv4_mapped", None) or ip)


class _End(asyncio.Protocol):
    """One end of a connection that is led on: what comes goes to the other end, which says when it is too much."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        """This end takes no more: the other one is not read."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """This end takes more again."""
        if self.other is not None and self.other.transport is not None:
            with contextlib.suppress(RuntimeError):  # it is closing
                self.other.transport.resume_reading()

    def connection_lost(self, _: Exception | None) -> None:
        """What was written to the other end still leaves."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class _Door(_End):
    """The end at a door of this server, or at the gate."""

    def __init__(self, guest: "_Guest") -> None:
        super().__init__()
        self.other = guest

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The way is open."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP's are
        self.transport = transport


class _Guest(_End):
    """The end at the client.

    Attributes:
        place: what its place is counted under; empty before it has one.
    """

    def __init__(self, entrance: Entrance) -> None:
        super().__init__()
        self._entrance, self._buffer, self._address = entrance, b"", ""
        self.place = ""
        self._port = 0
        self._leading: asyncio.Task[None] | None = None
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody is there."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP's are
        self.transport = transport
        if not self._entrance.arrived(self):
            transport.abort()
            return
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENT)
        address = str(transport.get_extra_info("peername")[0])
        room = self._entrance.room
        self._late = asyncio.get_running_loop().call_later(room.seconds, self.end)
        if not room.is_proxy(address):
            self._known(address)

    def data_received(self, data: bytes) -> None:
        """Read how it begins; pass on what follows."""
        if self.other is not None:
            super().data_received(data)
            return
        self._buffer += data
        try:
            self._read()
        except ValueError:  # whoever it is speaks something else
            self.end()

    def connection_lost(self, failure: Exception | None) -> None:
        """The client is gone."""
        if self._late is not None:
            self._late.cancel()
        if self._leading is not None:
            self._leading.cancel()
        ARRIVALS.forget(self._port)
        self._entrance.left(self)
        super().connection_lost(failure)

    def end(self) -> None:
        """End it from here."""
        if self.transport is not None:
            self.transport.abort()

    def _known(self, address: str) -> None:
        self._address = address
        if not self._entrance.admit(self, address):
            self.end()

    def _read(self) -> None:
        if not self._address:
            header = forwarded.read(self._buffer)
            if header is None:
                return
            address, self._buffer = header
            assert self.transport is not None  # noqa: S101 - data came by it
            self._known(address or str(self.transport.get_extra_info("peername")[0]))
        said = hello.read(self._buffer)
        if said is not None and self._leading is None and self.place and self.transport is not None:
            self.transport.pause_reading()
            self._leading = asyncio.get_running_loop().create_task(self._lead(self._entrance.ways.of(said)))

    async def _lead(self, port: int | None) -> None:
        try:
            async with asyncio.timeout(_CONNECT):
                door = await (self._to_gate() if port is None else self._to_door(port))
        except (OSError, TimeoutError):  # there is no campaign, or the server goes down
            self.end()
            return
        if self._late is not None:
            self._late.cancel()
        assert door.transport is not None and self.transport is not None  # noqa: S101, PT018 - both are connected
        door.transport.write(self._buffer)
        self.other, self._buffer = door, b""
        self.transport.resume_reading()

    async def _to_door(self, port: int) -> _Door:
        loop = asyncio.get_running_loop()
        way = socket.socket()
        try:
            way.setblocking(False)
            way.bind((INNER, 0))
            self._port = int(way.getsockname()[1])
            ARRIVALS.note(self._port, self._address)
            await loop.sock_connect(way, ("127.0.0.1", port))
            return (await loop.create_connection(lambda: _Door(self), sock=way))[1]
        except BaseException:
            way.close()
            raise

    async def _to_gate(self) -> _Door:
        gate = self._entrance.ways.gate
        return (await asyncio.get_running_loop().create_connection(lambda: _Door(self), gate.bare_host, gate.port))[1]
