"""The listener: one grpc.aio server over TLS, on two ports, with every service that is meant for the network.

An entrance, if there is one, leads to two more of its ports, which are on loopback.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from genepool_protocol.v1 import (
    consume_pb2,
    consume_pb2_grpc,
    contribute_pb2,
    contribute_pb2_grpc,
    pool_pb2,
    pool_pb2_grpc,
)
from genepool_protocol.wire.limits import LIMITS
from genepool_server.front.entrance.listener import Entrance, Plan
from genepool_server.front.guards.access import AccessInterceptor
from genepool_server.front.guards.callers import Callers
from genepool_server.front.guards.calls import Call
from genepool_server.front.guards.forms import FormInterceptor
from genepool_server.front.guards.holding import Holding
from genepool_server.front.guards.interceptor import CallLimits, ErrorInterceptor
from genepool_server.front.guards.rates import Rates
from genepool_server.front.guards.shares import Shares
from genepool_server.front.guards.strangers import Strangers
from genepool_server.front.guards.telling import constant
from genepool_server.front.guards.watching import WatchInterceptor
from genepool_server.front.services.contribute_service import ContributeServicer
from genepool_server.front.services.descend_service import DescendServicer
from genepool_server.front.services.enrolment_service import EnrolmentServicer
from genepool_server.front.services.log_service import LogServicer
from genepool_server.front.services.pool_service import PoolServicer
from genepool_server.front.services.select_service import SelectServicer
from genepool_server.front.services.trust_service import TrustServicer
from genepool_server.net import Address, taken
from genepool_server.pool.pool import OpenPool
from genepool_server.pool.sites.site_keys import Issue
from genepool_server.root.repository import Repository
from genepool_server.serving.bounded_queue import Gate
from genepool_server.serving.service import Serving
from genepool_server.tls.identity import utc_now

OPTIONS: Final[list[tuple[str, Any]]] = [
    ("grpc.max_receive_message_length", LIMITS.message_bytes),
    ("grpc.max_send_message_length", LIMITS.message_bytes),
    ("grpc.max_metadata_size", 8 << 10),
    ("grpc.absolute_max_metadata_size", 8 << 10),
    ("grpc.max_concurrent_streams", 32),
    ("grpc.max_connection_age_ms", 3_600_000),
    ("grpc.max_connection_age_grace_ms", 60_000),
    ("grpc.max_connection_idle_ms", 300_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 30_000),
    ("grpc.http2.max_ping_strikes", 2),
    ("grpc.so_reuseport", 0),  # two servers on one port would take turns
]

_LOOPBACK: Final = Address("127.0.0.1", 0)

_AT_WORK: Final = 8
"""Turns of calls that are answered at once, at the same time."""

_AT_WORK_EACH: Final = 1
"""The same for one peer."""

_REST: Final = 2.0
"""How long a peer with more such calls rests after a turn, in times of that turn."""

_HELD: Final = 4
"""Refusals that are held back at the same time, for each call that may be open."""

_SERVICES: Final = tuple(
    service.full_name
    for module in (pool_pb2, contribute_pb2, consume_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
)


Tls = Callable[[], grpc.ServerCredentials]
"""Makes the TLS of one port."""


@dataclass(frozen=True, slots=True)
class Doors:
    """Where to listen and how: gRPC for Python asks every client of a port for a certificate, or none.

    Attributes:
        open: address and TLS, anew for each port, for clients without a certificate; port 0 takes a free one.
        certified: the same for clients that show one.
        entrance: one port that leads to both, by two more ports on loopback; None for none.
    """

    open: tuple[Address, Tls]
    certified: tuple[Address, Tls]
    entrance: Plan | None = None


@dataclass(frozen=True, slots=True)
class Guard:
    """Who is let in, and what vouches for sites.

    Attributes:
        callers: tells who calls.
        rates: how often a site may.
        strangers: how often an address without a certificate may descend.
        issue: makes the certificates of sites.
        port: where clients are told to show them; 0: where they are asked for.
        channel: SHA-256 of the key of the CA that clients pin.
        trust: the trust root.
    """

    callers: Callers
    rates: Rates
    strangers: Strangers
    issue: Issue
    channel: bytes
    trust: Repository
    port: int = 0


@dataclass(frozen=True, slots=True)
class Load:
    """How much is served at once.

    Attributes:
        calls: open at the same time; one more is refused.
        calls_each: the same for one peer.
        limits: how long a call may take.
    """

    calls: int
    calls_each: int
    limits: CallLimits


class Front:
    """The server on the network. Made, started and stopped on one event loop.

    The ports are taken at once, so that nobody else can have them while the workers start; `start` begins to answer.

    Attributes:
        bound: where it listens for clients without a certificate, with the real port.
        certified: the same for clients with one.
        entrance: what leads to both; None for none.
        shares: counts open calls.
        quick: the turns of calls that are answered at once.

    Args:
        doors: where to listen.
        guard: who is let in.
        load: how much of it.
        ended: hears of each call when it is over.

    Raises:
        Unavailable: PORT_IN_USE.
    """

    def __init__(self, doors: Doors, guard: Guard, load: Load, ended: Callable[[Call], None]) -> None:
        self._guard = guard
        self._stall_seconds = load.limits.stall
        self.shares = Shares(guard.callers, load.calls, load.calls_each)
        self.quick = Gate("calls", _AT_WORK, load.calls, each=load.calls_each, share=_AT_WORK_EACH, rest=_REST)
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(
            interceptors=[
                WatchInterceptor(ended),
                ErrorInterceptor(
                    load.limits,
                    deadlines=True,
                    shares=self.shares,
                    gate=self.quick,
                    holding=Holding(_HELD * load.calls),
                    told=constant,
                ),
                AccessInterceptor(guard.callers, guard.rates),
                FormInterceptor(),
            ],
            options=OPTIONS,  # no limit of gRPC's own: it would refuse everybody for the calls of one
        )
        self.bound = self._listen(*doors.open)
        self.certified = self._listen(*doors.certified)
        self.entrance: Entrance | None = None
        self._inner = (0, 0)
        if doors.entrance is not None:
            self._inner = (
                self._listen(_LOOPBACK, doors.open[1]).port,
                self._listen(_LOOPBACK, doors.certified[1]).port,
            )
            self.entrance = Entrance(doors.entrance)

    @property
    def public(self) -> Address:
        """Where it listens for everybody."""
        return self.entrance.bound if self.entrance is not None else self.bound

    def _listen(self, address: Address, tls: Tls) -> Address:
        try:
            return Address(address.host, self._server.add_secure_port(str(address), tls()))
        except RuntimeError as exc:
            raise taken(address) from exc

    async def start(self, pool: OpenPool, serving: Serving) -> None:
        """Register every service and answer from now on."""
        server, key, guard = self._server, pool.release_key, self._guard
        add = pool_pb2_grpc.add_PoolServiceServicer_to_server
        port = guard.port or self.certified.port
        add(PoolServicer(pool, pool.origin, (port, self.entrance.certified_name if self.entrance else "")), server)
        pool_pb2_grpc.add_TrustServiceServicer_to_server(TrustServicer(guard.trust), server)
        pool_pb2_grpc.add_LogServiceServicer_to_server(LogServicer(pool.log, pool.heads), server)
        enrolment = EnrolmentServicer(pool.sites, guard.callers, guard.channel, guard.issue, utc_now)
        contribute_pb2_grpc.add_EnrolmentServiceServicer_to_server(enrolment, server)
        contribute = ContributeServicer(pool.contributions, pool.campaigns, guard.callers, self._stall_seconds, utc_now)
        contribute_pb2_grpc.add_ContributeServiceServicer_to_server(contribute, server)
        consume_pb2_grpc.add_SelectServiceServicer_to_server(SelectServicer(pool, serving), server)
        descend = DescendServicer(pool, serving, key, pool.origin, guard.strangers)
        consume_pb2_grpc.add_DescendServiceServicer_to_server(descend, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        for service in ("", *_SERVICES):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        await server.start()
        if self.entrance is not None:
            await self.entrance.start(*self._inner)

    async def stop(self, grace: float) -> None:
        """Say NOT_SERVING, refuse new calls, give running ones so many seconds, and end."""
        await self._health.enter_graceful_shutdown()
        if self.entrance is not None:
            self.entrance.close()
        await self._server.stop(grace)
        if self.entrance is not None:
            self.entrance.stop()
