"""Addresses that cannot be a pool's are refused before anything is sent."""

import pytest

from genepool_client.transport.channel import Connection, check_address
from genepool_protocol.trust.anchors import Anchors
from genepool_protocol.wire.errors import GenepoolError


@pytest.mark.parametrize(
    "address", ["", "pool", "pool:", ":8470", "pool:http", "https://pool:1", "pool:0", "pool:70000"]
)
def test_what_is_not_host_and_port_is_refused(address):
    with pytest.raises(GenepoolError) as caught:
        check_address(address)
    assert caught.value.reason == "OPTION_INVALID"


@pytest.mark.parametrize("address", ["pool.example:8470", "127.0.0.1:1", "[::1]:65535"])
def test_host_and_port_are_taken(address):
    assert check_address(address) == address


def test_anchors_without_a_certificate_are_refused():
    anchors = Anchors(address="pool:1", ca_pem="", root="{}")
    with pytest.raises(GenepoolError) as caught:
        Connection(anchors)
    assert caught.value.reason == "KEY_MALFORMED"
