"""Private memory of a whole server, inline serving and all, as its pool grows."""

import tempfile
from pathlib import Path

import numpy as np

from genepool_protocol.v1 import consume_pb2
from genepool_server.pool.pool import OpenPool
from tests.benchmarks.timing import Row
from tests.support import server, sites


def private_bytes(pid: int) -> int:
    """Bytes that belong to this process alone."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))


def memory(quick: bool) -> Row:
    """A pool of few and a pool of many learngenes after one selection each; the slope tells what 10,000 would take."""
    few, many = (3, 9) if quick else (100, 1000)
    small, large = _after_a_selection(few), _after_a_selection(many)
    slope = max(0.0, (large - small) / (many - few))
    detail = f"{small / 1e6:.0f} MB with {few}, {large / 1e6:.0f} MB with {many}: {slope / 1e3:.1f} KB a learngene"
    return Row(
        "server's private memory at 10,000, extrapolated", (small + slope * 10_000) / 1e6, 1500.0, detail, unit="MB"
    )


def _after_a_selection(count: int) -> int:
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = server.new_pool(Path(name) / "pool")
        with OpenPool.open(folder) as pool:
            site = sites.join(pool, "bench")
            for _ in range(count):
                sites.contribute(pool, site, rng)
        with server.server_process(folder) as process:
            pixels = rng.integers(0, 256, (24, 16, 16, 3), dtype=np.uint8).tobytes()
            request = consume_pb2.SelectRequest(blueprint="tiny-16", pixels=pixels, labels=[0, 1, 2] * 8)
            with server.channel(process.anchors) as channel:
                for _ in range(3):
                    for _ in server.Stubs(channel).select.Select(request, timeout=300):
                        pass
            return private_bytes(process.pid)
