"""SQLite itself runs out of room: a real SQLITE_FULL, by a limit on the number of pages."""

import pytest

from genepool_protocol.wire.errors import GenepoolError
from genepool_server.pool.fsck import fsck
from genepool_server.pool.pool import Pool
from tests.support import sites as c


def limit_pages(pool, pages):
    """The most pages that the writer's database may have; 0 takes what it has now."""
    with pool._ledger.write() as tx:
        count = tx.exec_driver_sql("PRAGMA page_count").scalar_one()
        tx.exec_driver_sql(f"PRAGMA max_page_count={pages or count}")


def test_a_full_ledger_refuses_cleanly_and_takes_the_same_commit_later(tmp_path):
    import numpy as np

    folder, rng = c.make_pool(tmp_path), np.random.default_rng(0)
    with Pool.open(folder) as pool:
        site = c.join(pool, "site-a")
        c.contribute(pool, site, rng)
        limit_pages(pool, 0)
        before, uploads, refused = pool.checkpoint(), [], None
        while refused is None:
            uploads.append(c.upload(pool, site.pack(pool, c.weights_of(pool.blueprint(c.BLUEPRINT).blueprint, rng))))
            try:
                before = pool.commit(uploads[-1], c.NOW) and pool.checkpoint()
            except GenepoolError as exc:
                refused = exc
        assert refused.reason == "DISK_FULL"
        assert pool.checkpoint() == before
        assert fsck(folder) == []
        with pytest.raises(GenepoolError) as caught:
            pool.invite("site-" + "x" * 50, c.NOW) and [pool.invite(f"site-{n}", c.NOW) for n in range(200)]
        assert caught.value.reason == "DISK_FULL"
        limit_pages(pool, 1 << 30)
        done = pool.commit(uploads[-1], c.NOW)
        assert pool.commit(uploads[-1], c.NOW) == done
    assert fsck(folder) == []
