"""Who stands behind the entrance's own address."""

import pytest

from genepool_server.front.guards.arrivals import Arrivals
from genepool_server.front.guards.callers import Caller, NetworkCallers
from genepool_server.front.guards.shares import address_of, peer_of
from tests.unit.front.guards.test_callers import Context


@pytest.fixture
def arrivals(monkeypatch):
    table = Arrivals()
    for module in ("callers", "shares"):
        monkeypatch.setattr(f"genepool_server.front.guards.{module}.ARRIVALS", table)
    return table


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_a_call_through_the_entrance_is_its_clients(arrivals, address, named):
    arrivals.note(5000, address)
    call = Context(peer="ipv4:127.71.0.1:5000")
    assert (arrivals.led(call), address_of(arrivals.peer(call))) == (True, named)
    assert peer_of(call, lambda _: Caller("", frozenset())).name == named


def test_a_call_by_another_way_is_left_as_it_is(arrivals):
    for peer in ("ipv4:127.0.0.1:5000", "ipv6:%5B::1%5D:5000", "unix:"):
        call = Context(peer=peer)
        assert (arrivals.led(call), arrivals.peer(call)) == (False, peer)


def test_who_is_local_is_asked_of_the_client_and_not_of_the_entrance(arrivals):
    callers = NetworkCallers(lambda _: None, "pool.test/log", "local", lambda: None)
    call = Context(peer="ipv4:127.71.0.1:5000")
    arrivals.note(5000, "192.0.2.7")
    assert callers(call).roles == frozenset()
    arrivals.note(5000, "127.0.0.1")
    assert callers(call).roles == {"consumer"}
    arrivals.forget(5000)  # the connection ended while its call is looked at
    assert callers(call).roles == frozenset()
