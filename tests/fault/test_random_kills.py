"""kill -9 of a busy pool at moments that nobody chose."""

import random
import subprocess
import sys
import time
from pathlib import Path

from genepool_protocol.trust import digest, envelope, receipt
from genepool_server.pool.fsck import fsck
from genepool_server.pool.pool import Pool
from tests.support import sites as c

ROOT = Path(__file__).parents[2]
ROUNDS = 4


def test_nothing_acknowledged_is_lost_when_the_process_is_killed_again_and_again(fast_folder):
    folder, acknowledged, key = c.make_pool(fast_folder), fast_folder / "acknowledged", fast_folder / "key.pem"
    with Pool.open(folder) as pool:
        site = c.join(pool, "site-a")
    key.write_bytes(site.key.pem())
    moments = random.Random(11)
    for n in range(ROUNDS):
        command = [sys.executable, "-m", "tests.fault.busy_site", folder, key, acknowledged, str(n)]
        busy = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert busy.stdout.readline() == b"ready\n"
        time.sleep(moments.uniform(0.05, 0.5))
        assert fsck(folder) == [], "it reads beside a busy pool"
        busy.kill()
        busy.wait()
        busy.stdout.close()
        assert fsck(folder) == []
        check(folder, site, acknowledged.read_bytes().splitlines())


def check(folder, site, receipts):
    """Everything acknowledged is there, proved, and the same when it is asked for again."""
    with Pool.open(folder) as pool:
        for raw in receipts:
            bundle = envelope.parse(raw)
            receipt.verify(bundle, envelope.verify(bundle, site.key.public), pool.log_key)
            assert pool.commit(digest.sha256_hex(bundle.payload), c.NOW).receipt == raw
        assert len(pool.contributions()) - len(receipts) in range(ROUNDS + 1), "at most one in flight was not heard of"
    assert fsck(folder) == []
