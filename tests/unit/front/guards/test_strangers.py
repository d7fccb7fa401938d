"""Descents without a certificate: so many a minute for each address."""

from genepool_server.front.guards.shares import address_of
from genepool_server.front.guards.strangers import Strangers
from tests.support.refusals import reason_of


def test_one_address_is_limited_and_another_one_is_not():
    now = [0.0]
    strangers = Strangers(6, lambda: now[0])
    for port in range(6):
        strangers.take(f"ipv4:192.0.2.1:{port}")
    assert reason_of(strangers.take, "ipv4:192.0.2.1:99") == "RATE_EXCEEDED"
    strangers.take("ipv4:192.0.2.2:1")
    now[0] = 10.0
    strangers.take("ipv4:192.0.2.1:7")


def test_a_host_is_not_many_by_its_ports_or_the_rest_of_its_network():
    assert address_of("ipv6:%5B2001:db8::1%5D:5000") == address_of("ipv6:%5B2001:db8::ffff:2%5D:1")
    assert address_of("ipv4:192.0.2.1:1") != address_of("ipv4:192.0.2.2:1")
    assert address_of("unix:/run/x") == "unix"


def test_the_memory_of_addresses_is_bounded():
    strangers = Strangers(1, lambda: 0.0)
    for number in range(10_000):
        strangers.take(f"ipv4:10.0.{number >> 8}.{number & 255}:1")
    assert len(strangers._buckets) == 4096
