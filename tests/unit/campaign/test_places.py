"""The gate's connections are shared out: a stranger's idle ones leave room for other addresses and for nodes."""

import asyncio
import socket
import ssl
from contextlib import ExitStack

import httpx
import pytest

from genepool_server.campaign import gate, places
from genepool_server.campaign.gate import FleetGate
from genepool_server.campaign.places import Places
from genepool_server.front.guards.arrivals import INNER
from genepool_server.net import Address
from genepool_server.tls import identity
from tests.support.server import wait_until


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Door:
    """Places, and which connections were cut."""

    def __init__(self, total: int = 12, each: int = 4) -> None:
        self.clock, self.cut = Clock(), []
        self.places = Places(total, each, self.clock)

    def come(self, host: str, *ports: int) -> list[bool]:
        return [self.places.take((host, port), lambda port=port: self.cut.append((host, port))) for port in ports]


@pytest.fixture
def door():
    return Door()


def test_attack_one_address_has_its_part_and_another_one_its_own(door):
    assert door.come("10.0.0.1", *range(6)) == [True] * 4 + [False] * 2
    assert door.come("10.0.0.2", 1) == [True]
    door.places.leave(("10.0.0.1", 0))
    assert door.come("10.0.0.1", 7, 8) == [True, False]
    assert door.cut == []


def test_the_entrance_leads_many_here_and_has_no_part_of_its_own(door):
    assert door.come(INNER, *range(10)) == [True] * 9 + [False]  # strangers' nine of twelve


def test_attack_of_ipv6_one_network_is_one_address(door):
    assert [door.come(f"2001:db8::{host}", 1) for host in range(1, 6)] == [[True]] * 4 + [[False]]
    assert door.come("2001:db8:0:1::1", 1) == [True]


def test_attack_strangers_together_leave_a_quarter_to_nodes(door):
    for host in range(3):
        door.come(f"10.0.0.{host}", 1, 2, 3)
    assert door.come("10.0.1.1", 1) == [False]  # nine of twelve
    assert door.places.prove(("10.0.0.1", 1), "node")
    assert door.come("10.0.1.1", 1) == [True]


def test_who_shows_nothing_gives_way_when_its_time_is_over(door):
    door.come("10.0.0.1", 1, 2, 3, 4)
    door.places.prove(("10.0.0.1", 1), "node")
    door.come("10.0.0.1", 5)
    door.clock.now += 11
    assert door.come("10.0.0.1", 6) == [True]
    assert door.cut == [("10.0.0.1", 2)]  # the oldest stranger, not the node
    assert door.come("10.0.0.2", 1, 2, 3, 4, 5) == [True] * 4 + [False]  # a full address gives way by its own


def test_attack_one_node_has_its_part(door, monkeypatch):
    monkeypatch.setattr(places, "EACH_NODE", 2)
    door.come("10.0.0.1", 1, 2, 3)
    assert [door.places.prove(("10.0.0.1", port), "node") for port in (1, 2, 3, 1)] == [True, True, False, True]
    assert door.places.prove(("10.0.0.1", 3), "another")
    assert door.places.prove(("10.0.0.9", 9), "gone")  # a connection that has just ended


@pytest.fixture
def ca(tmp_path):
    identity.create_ca(tmp_path, identity.utc_now())
    now = identity.utc_now()
    own = identity.temporary(tmp_path, ["127.0.0.1"], now, now + identity.SERVER_LIFE)
    (tmp_path / "tls.pem").write_bytes(own.key)
    (tmp_path / "chain.pem").write_bytes(own.chain)
    return tmp_path


@pytest.mark.parametrize(("status", "owners"), [(200, {"key"}), (401, {"10.0.0.1"})])
def test_a_connection_is_a_nodes_when_flower_has_verified_it(ca, status, owners):
    shared = Places()
    shared.take(("10.0.0.1", 5), lambda: None)
    transport = httpx.MockTransport(lambda _: httpx.Response(status))
    app = gate.application("127.0.0.1:1", ca / "ca.crt", shared, transport)

    async def ask() -> None:
        way = httpx.ASGITransport(app=app, client=("10.0.0.1", 5))
        async with httpx.AsyncClient(transport=way, base_url="https://gate") as client:
            await client.post("/v1/fleet/pull-messages", headers={"flwr-public-key": "key"})

    asyncio.run(ask())
    assert {place.owner for place in shared._places.values()} == owners


def dialled(trusted: ssl.SSLContext, port: int, source: str) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", port), 20, source_address=(source, 0))
    try:
        return trusted.wrap_socket(plain, server_hostname="127.0.0.1")
    except OSError:
        plain.close()
        raise


def answered(trusted: ssl.SSLContext, port: int, source: str) -> int:
    with dialled(trusted, port, source) as asking:
        asking.sendall(b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n")
        return int(asking.recv(99).split()[1])


def served(trusted: ssl.SSLContext, port: int, source: str) -> bool:
    try:
        return answered(trusted, port, source) == 404
    except (ssl.SSLError, ConnectionError):
        return False


def test_attack_idle_connections_of_one_address_leave_the_gate_to_others(ca, monkeypatch):
    monkeypatch.setattr(gate, "Places", lambda: Places(16, 8))
    trusted = ssl.create_default_context(cafile=ca / "ca.crt")
    files = {"ca": ca / "ca.crt", "key": ca / "tls.pem", "chain": ca / "chain.pem"}
    with FleetGate(Address("127.0.0.1", 0), "127.0.0.1:1", **files) as opened, ExitStack() as undo:
        port, idle = opened.bound.port, 0
        for _ in range(16):
            try:
                undo.enter_context(dialled(trusted, port, "127.0.0.1"))
            except OSError:
                continue
            idle += 1
        assert idle == 8
        assert answered(trusted, port, "127.0.0.2") == 404
        assert not served(trusted, port, "127.0.0.1")
        undo.close()
        assert wait_until(lambda: served(trusted, port, "127.0.0.1"), 20)  # places that were left are free again
