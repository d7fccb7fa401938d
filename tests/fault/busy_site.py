"""A site that contributes without pause and notes every receipt; its parent kills it.

python -m tests.fault.busy_site POOL_FOLDER KEY_PEM ACKNOWLEDGED SEED LEDGER BLOBS
"""

import sys
from pathlib import Path

import numpy as np

from genepool_protocol.trust.keys import SigningKey
from genepool_server.pool.pool import OpenPool
from genepool_server.pool.store.storage import Storage
from tests.support import sites as c


def main(folder, key, acknowledged, seed, ledger, blobs):
    """Contribute until the end."""
    site = c.Contributor("site-a", SigningKey.from_pem(Path(key).read_bytes()))
    rng = np.random.default_rng(int(seed))
    with (
        OpenPool.open(Path(folder), Storage(ledger, blobs)) as pool,
        Path(acknowledged).open("ab", buffering=0) as file,
    ):
        print("ready", flush=True)
        while True:
            weights = c.weights_of(pool.blueprint(c.BLUEPRINT).blueprint, rng)
            upload_id = c.upload(pool, site.pack(pool, weights), chunk=1000)
            file.write(pool.contributions.intake.commit(upload_id, c.NOW).receipt + b"\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
