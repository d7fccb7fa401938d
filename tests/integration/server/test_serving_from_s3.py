"""A server whose ledger and weights are on other machines: it fetches the weights, and workers map the local copies."""

import shutil

import numpy as np
import pytest

from genepool_protocol.trust import digest
from genepool_protocol.v1 import consume_pb2 as pb
from genepool_protocol.v1 import types_pb2
from tests.integration.server.wire import WireSite
from tests.support import stores
from tests.support.server import TIMEOUT, new_pool, serving


def descend(stubs, names) -> str:
    asked = pb.DescendRequest(
        blueprint="tiny-16",
        weights=[types_pb2.Weight(contribution_id=name, milli=500) for name in sorted(names)],
        budget=types_pb2.SizeBudget(size=types_pb2.Size(depth=2, heads=1)),
    )
    parts = list(stubs.descend.Descend(asked, timeout=TIMEOUT))
    return digest.sha256_hex(b"".join(part.chunk for part in parts[1:-1]))


RAY = (pytest.mark.slow, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))
"""It leaves files of its own open, which are noticed while it starts again."""


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=RAY)])
def test_a_server_that_lost_its_local_copies_or_has_damaged_ones_serves_the_same_bytes(tmp_path, workers):
    rng = np.random.default_rng(5)
    folder = new_pool(tmp_path / "pool", ledger=stores.database(), blobs=stores.prefix(), serving={"workers": workers})
    with serving(folder) as server, server.stubs() as stubs:
        site = WireSite(server, stubs, "north").join()
        names = [site.contribute(rng).contribution_id for _ in range(2)]
        made = descend(stubs, names)
        listed = list(stubs.select.ListKeys(pb.ListKeysRequest(blueprint="tiny-16"), timeout=TIMEOUT))
    shutil.rmtree(folder / "cache")
    for change in (lambda path: None, lambda path: path.write_bytes(bytes(path.stat().st_size))):
        for path in (folder / "cache").glob("??/*"):
            change(path)
        with serving(folder) as server, server.stubs() as stubs:
            assert descend(stubs, names) == made
            assert list(stubs.select.ListKeys(pb.ListKeysRequest(blueprint="tiny-16"), timeout=TIMEOUT)) == listed
            assert len(list((folder / "cache").glob("??/*"))) == 2
