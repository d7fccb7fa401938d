"""SQLite itself runs out of room: a real SQLITE_FULL, by a limit on the number of pages."""

import numpy as np

from genepool_protocol.wire.errors import StorageError
from genepool_server.pool.pool import OpenPool
from genepool_server.pool.upkeep.fsck import fsck
from tests.support import sites as c


def limit_pages(pool, count):
    """The most pages that the ledger may have; less than it has means: no more."""
    with pool.contributions.ledger.write() as tx:
        tx.exec_driver_sql(f"PRAGMA max_page_count={count}")


def reason_of(call, *args):
    """The reason of a storage error, or an empty text."""
    try:
        call(*args)
    except StorageError as exc:
        return exc.reason
    return ""


def test_a_full_ledger_refuses_cleanly_and_takes_the_same_commit_later(tmp_path):
    folder, rng = c.make_pool(tmp_path), np.random.default_rng(0)
    with OpenPool.open(folder) as pool:
        site = c.join(pool, "site-a")
        limit_pages(pool, 1)
        reason, head = "", ""
        while not reason:
            head = pool.heads.latest()
            upload_id = c.upload(pool, site.pack(pool, c.weights_of(pool.blueprint(c.BLUEPRINT).blueprint, rng)))
            reason = reason_of(pool.contributions.intake.commit, upload_id, c.NOW)
        assert reason == "DISK_FULL"
        assert pool.heads.latest() == head
        assert fsck(folder) == []
        limit_pages(pool, 1 << 30)
        done = pool.contributions.intake.commit(upload_id, c.NOW)
        assert pool.contributions.intake.commit(upload_id, c.NOW) == done
        assert pool.heads.latest() != head
    assert fsck(folder) == []


def test_a_full_ledger_does_not_invite(tmp_path):
    with OpenPool.open(c.make_pool(tmp_path)) as pool:
        limit_pages(pool, 1)
        reasons = [reason_of(pool.sites.invite, f"site-{n}", c.NOW) for n in range(200)]
        assert set(reasons) == {"", "DISK_FULL"}
        assert len(pool.sites.all()) == reasons.count("")
