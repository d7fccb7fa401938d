"""kill -9 of a busy pool at moments that nobody chose."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genepool_protocol.trust import digest, envelope, receipt
from genepool_server.pool.pool import OpenPool
from genepool_server.pool.upkeep.fsck import fsck
from tests.support import sites as c
from tests.support import stores

ROOT = Path(__file__).parents[2]
ROUNDS = 4


@pytest.mark.parametrize("kind", [stores.KINDS[0], pytest.param(stores.KINDS[1], marks=pytest.mark.slow)])
def test_nothing_acknowledged_is_lost_when_the_process_is_killed_again_and_again(fast_folder, kind):
    storage = stores.storage(kind)
    folder, acknowledged, key = c.make_pool(fast_folder, storage), fast_folder / "acknowledged", fast_folder / "key.pem"
    with OpenPool.open(folder, storage) as pool:
        site = c.join(pool, "site-a")
    key.write_bytes(site.key.pem())
    moments = random.Random(11)
    for n in range(ROUNDS):
        arguments = (folder, key, acknowledged, str(n), storage.ledger, storage.blobs)
        busy = subprocess.Popen(
            [sys.executable, "-m", "tests.fault.busy_site", *arguments], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert busy.stdout.readline() == b"ready\n"
        time.sleep(moments.uniform(0.05, 0.5))
        assert fsck(folder, storage) == [], "it reads beside a busy pool"
        busy.kill()
        busy.wait()
        busy.stdout.close()
        assert fsck(folder, storage) == []
        check(folder, storage, site, acknowledged.read_bytes().splitlines())


def check(folder, storage, site, receipts):
    """Everything acknowledged is there, proved, and the same when it is asked for again."""
    with OpenPool.open(folder, storage) as pool:
        for raw in receipts:
            bundle = envelope.parse(raw)
            receipt.verify(bundle, envelope.verify(bundle, site.key.public), pool.log.keys)
            assert pool.contributions.intake.commit(digest.sha256_hex(bundle.payload), c.NOW).receipt == raw
        assert len(pool.contributions.all()) - len(receipts) in range(ROUNDS + 1), (
            "at most one in flight was not heard of"
        )
    assert fsck(folder, storage) == []
