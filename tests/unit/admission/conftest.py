"""A pool with one site that has packed its first contribution."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from genepool_protocol.learngene.blueprint import Blueprint
from genepool_server.pool.pool import OpenPool
from tests.support import sites as c


@dataclass(frozen=True)
class World:
    pool: OpenPool
    site: c.Contributor
    blueprint: Blueprint
    weights: bytes
    packed: c.Packed
    scratch: Path

    def pack(self, **changes) -> c.Packed:
        return self.site.pack(self.pool, self.weights, **changes)


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    with OpenPool.open(c.make_pool(folder)) as pool:
        site = c.join(pool, "site-a")
        weights = c.weights_of(pool.blueprint(c.BLUEPRINT).blueprint, np.random.default_rng(1))
        return folder / "pool", site, weights, site.pack(pool, weights)


@pytest.fixture
def world(template, tmp_path):
    folder, site, weights, packed = template
    shutil.copytree(folder, tmp_path / "pool")
    with OpenPool.open(tmp_path / "pool") as pool:
        yield World(pool, site, pool.blueprint(c.BLUEPRINT).blueprint, weights, packed, tmp_path)
