"""One pool server for all tests that leave it as it was, and a private cache for blueprints."""

import pytest

from tests.integration.site.world import World


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENEPOOL_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session")
def world(tmp_path_factory, _cache):
    made = World(tmp_path_factory.mktemp("world"))
    made.start()
    yield made
    made.stop()
