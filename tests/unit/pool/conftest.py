"""A pool's folder with two active sites, copied for every test."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from genepool_server.pool.contributions.intake import Intake
from genepool_server.pool.contributions.replies import Committed
from genepool_server.pool.contributions.withdrawal import Withdrawals
from genepool_server.pool.pool import OpenPool
from tests.support import sites as c


@dataclass
class Place:
    """A folder, its sites and a source of weights; `pool` is the pool that is open."""

    folder: Path
    a: c.Contributor
    b: c.Contributor
    rng: np.random.Generator
    pool: OpenPool

    @property
    def intake(self) -> Intake:
        return self.pool.contributions.intake

    @property
    def withdrawals(self) -> Withdrawals:
        return self.pool.contributions.withdrawals

    def reopen(self, **options) -> OpenPool:
        self.pool.close()
        self.pool = OpenPool.open(self.folder, **options)
        return self.pool

    def weights(self) -> bytes:
        return c.weights_of(self.pool.blueprint(c.BLUEPRINT).blueprint, self.rng)

    def pack(self, site: c.Contributor | None = None, **changes) -> c.Packed:
        return (site or self.a).pack(self.pool, self.weights(), **changes)

    def contribute(self, site: c.Contributor | None = None) -> Committed:
        return c.submit(self.pool, self.pack(site))


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    with OpenPool.open(c.make_pool(folder)) as pool:
        return folder / "pool", c.join(pool, "site-a"), c.join(pool, "site-b")


@pytest.fixture
def place(template, tmp_path):
    folder, a, b = template
    shutil.copytree(folder, tmp_path / "pool")
    found = Place(tmp_path / "pool", a, b, np.random.default_rng(7), OpenPool.open(tmp_path / "pool"))
    yield found
    found.pool.close()
