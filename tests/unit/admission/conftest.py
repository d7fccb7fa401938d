"""A pool with one site that has packed its first contribution."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from genepool_protocol.learngene.blueprint import Blueprint
from genepool_server.pool.pool import Pool
from tests.support import contributions as c


@dataclass(frozen=True)
class World:
    pool: Pool
    site: c.Contributor
    blueprint: Blueprint
    weights: bytes
    packed: c.Packed
    scratch: Path

    def pack(self, **changes) -> c.Packed:
        return self.site.pack(self.pool, self.weights, self.scratch, **changes)


@pytest.fixture
def world(tmp_path):
    with Pool.open(c.make_pool(tmp_path)) as pool:
        site = c.join(pool, "site-a")
        blueprint = pool.blueprint(c.BLUEPRINT).blueprint
        weights = c.weights_of(blueprint, np.random.default_rng(1))
        yield World(pool, site, blueprint, weights, site.pack(pool, weights, tmp_path), tmp_path)
