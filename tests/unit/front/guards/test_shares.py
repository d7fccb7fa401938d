"""Whose a call is, and how many calls one caller may have open."""

import pytest

from genepool_protocol.wire.errors import Refused, Unavailable
from genepool_server.front.guards.callers import Caller
from genepool_server.front.guards.shares import Shares, address_of, peer_of
from genepool_server.serving.peers import Peer


class Call:
    """A call's context, as far as counting goes."""

    def __init__(self, peer: str) -> None:
        self._peer, self._callbacks = peer, []

    def peer(self) -> str:
        return self._peer

    def add_done_callback(self, callback) -> None:
        self._callbacks.append(callback)

    def end(self) -> None:
        for callback in self._callbacks:
            callback(self)


def nobody(_):
    return Caller("", frozenset())


def take(shares: Shares, call: Call) -> None:
    shares.take(shares.whose(call), call)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:10.1.2.3:5000", "10.1.2.3"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:5000", "2001:db8:1:2::/64"),
        ("ipv6:[2001:db8:1:2:ffff::1]:6000", "2001:db8:1:2::/64"),
        ("ipv6:%5B::ffff:10.1.2.3%5D:5000", "10.1.2.3"),
        ("ipv6:%5Bfe80::1%25eth0%5D:5000", "fe80::/64"),
        ("unix:", "unix"),
    ],
)
def test_an_anonymous_caller_is_its_address(peer, address):
    assert address_of(peer) == address


def test_a_certificate_counts_for_its_site_wherever_it_comes_from_and_a_dead_one_for_nothing():
    def refuse(_):
        raise Refused("CERT_EXPIRED", "it ended", "")

    call = Call("ipv4:10.1.2.3:5000")
    assert peer_of(call, lambda _: Caller("north", frozenset())) == Peer("north", certified=True)
    assert peer_of(call, refuse) == Peer("10.1.2.3", certified=False)


def test_a_caller_has_its_part_and_another_one_its_own():
    shares = Shares(nobody, 100, 3)
    calls = [Call(f"ipv4:10.0.0.1:{port}") for port in range(3)]
    for call in calls:
        take(shares, call)
    with pytest.raises(Unavailable) as caught:
        take(shares, Call("ipv4:10.0.0.1:9"))
    assert (caught.value.reason, int(caught.value.metadata["retry_seconds"]) > 0) == ("BUSY", True)
    take(shares, Call("ipv4:10.0.0.2:1"))
    calls[0].end()
    take(shares, Call("ipv4:10.0.0.1:9"))
    assert shares.open == 4


def test_strangers_together_leave_a_quarter_to_certified_callers():
    site = [""]
    shares = Shares(lambda _: Caller(site[0], frozenset()), 8, 8)
    for number in range(6):
        take(shares, Call(f"ipv4:10.0.0.{number}:1"))
    with pytest.raises(Unavailable):
        take(shares, Call("ipv4:10.0.0.99:1"))
    site[0] = "north"
    take(shares, Call("ipv4:10.0.0.99:1"))
