"""A pool with one blueprint need not be told which; any other says what there is to choose from."""

import pytest

from genepool_client.transport.blueprints import only
from genepool_protocol.v1 import pool_pb2
from genepool_protocol.wire.errors import InvalidInput


def capabilities(*names: str) -> pool_pb2.GetCapabilitiesResponse:
    return pool_pb2.GetCapabilitiesResponse(blueprints=[{"name": name} for name in names])


def test_the_only_one_is_taken():
    assert only(capabilities("nano-32"), "pool:1", "choose") == "nano-32"


@pytest.mark.parametrize(("names", "listed"), [((), ""), (("b", "a"), "a, b")])
def test_of_none_and_of_several_none_is_taken(names, listed):
    with pytest.raises(InvalidInput) as caught:
        only(capabilities(*names), "pool:1", "choose with --blueprint")
    assert caught.value.reason == "OPTION_INVALID"
    assert caught.value.message == f"the pool at pool:1 has {len(names)} blueprints"
    assert caught.value.fix == f"choose with --blueprint: {listed}"
