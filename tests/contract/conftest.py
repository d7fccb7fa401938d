"""Pools in every kind of storage."""

import numpy as np
import pytest

from genepool_protocol.trust import envelope, events
from genepool_server.pool.pool import OpenPool
from tests.support import sites as c
from tests.support import stores


@pytest.fixture(scope="session", params=stores.KINDS)
def template(request, tmp_path_factory):
    """A pool with three contributions of two sites, of which the second was withdrawn: nobody has it open."""
    folder, storage = tmp_path_factory.mktemp("template"), stores.storage(request.param)
    made, rng = c.make_pool(folder, storage), np.random.default_rng(3)
    with OpenPool.open(made, storage) as pool:
        a, b = c.join(pool, "site-a"), c.join(pool, "site-b")
        done = [c.contribute(pool, site, rng) for site in (a, b, a)]
        found = pool.contributions.get(done[1].contribution_id)
        event = events.Withdrawal(
            pool=pool.origin,
            time="2026-07-01T12:00:00Z",
            contribution_id=found.contribution_id,
            sha256=found.sha256,
        )
        pool.contributions.withdrawals.withdraw(envelope.sign_statement(b.key, event.payload()))
    return made, storage, a, b


@pytest.fixture
def place(template, tmp_path):
    """A copy: folder, storage and the two sites."""
    made, storage, a, b = template
    return tmp_path / "pool", stores.copied(storage, made, tmp_path / "pool"), a, b
