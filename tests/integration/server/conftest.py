"""One server for all tests of a module, served from a thread; fresh sites for every test."""

import itertools
import zlib

import numpy as np
import pytest

from tests.integration.server.wire import WireSite
from tests.support.server import pool_server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with pool_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def stubs(server):
    with server.stubs() as opened:
        yield opened


@pytest.fixture
def rng(request):
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


_NAMES = (f"site-{number}" for number in itertools.count(1))


@pytest.fixture
def new_site(server, stubs):
    return lambda: WireSite(server, stubs, next(_NAMES))


@pytest.fixture
def site(new_site):
    return new_site().join()
