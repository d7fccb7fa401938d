"""Many sites contribute over mTLS to a server in a process of its own, by the client's code; a consumer verifies."""

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from genepool_client import Pool
from genepool_client.consumer.descendant.verify import verify
from genepool_client.site import credentials, submission
from genepool_client.site.folder import SiteFolder
from genepool_client.site.materials import SiteBlueprint
from genepool_protocol.learngene.manifest import LEARNGENE_FILE
from tests.benchmarks.floor import Floor
from tests.benchmarks.rows import wide
from tests.benchmarks.timing import Row, paired
from tests.integration.site.world import World, condensed, silent

_AT_ONCE = 4
"""Sites that submit at the same time."""


def ingest(quick: bool) -> list[Row]:
    """Contributions a second and their latency, and what verifying a descendant of them costs its consumer."""
    with tempfile.TemporaryDirectory() as name, _cache(Path(name) / "cache"):
        world = World(Path(name), **wide(quick))
        world.start()
        try:
            sites = [_site(world, number) for number in range(4 if quick else 16)]
            started = time.perf_counter()
            with ThreadPoolExecutor(_AT_ONCE) as threads:
                latencies = sorted(threads.map(_submit, sites))
            seconds = time.perf_counter() - started
            return [*_rates(world, sites, seconds, latencies), _verifying(world, quick)]
        finally:
            world.stop()


def _rates(world: World, sites: list[SiteFolder], seconds: float, latencies: list[float]) -> list[Row]:
    sent = [path.read_bytes() for site in sites for path in site.outbox.rglob(LEARNGENE_FILE)]
    with Floor(world.root) as bare:
        started = time.perf_counter()
        for raw in sent:
            bare.keep(raw)
        floor = time.perf_counter() - started
    count, middle = len(sites), 1e3 * latencies[len(latencies) // 2]
    detail = f"{count} sites, {_AT_ONCE} at a time, {len(sent[0]) / 1e6:.1f} MB each; client and server share the cores"
    return [
        Row("sustained ingest over mTLS", count / seconds, 15.0, detail, unit="/s", higher=True),
        Row("sustained ingest, against the floor", seconds / floor, None, f"{1e3 * floor / count:.0f} ms each"),
        Row("submit, the middle one", middle, 150.0, f"signed to verified; longest {1e3 * latencies[-1]:.0f} ms", "ms"),
    ]


def _verifying(world: World, quick: bool) -> Row:
    """Offline verification of a descendant of the reference size, against hashing its files."""
    out = world.root / "descendant"
    with Pool(world.anchors) as pool:
        weights = dict.fromkeys(sorted(world.contributions())[:8], 125)
        pool.descend(weights=weights, size=pool.blueprint.reference, out=out)
    files = [path for path in out.iterdir() if path.is_file()]
    ours, floor = paired(
        2 if quick else 7,
        lambda: verify(out, world.trusted),
        lambda: [hashlib.sha256(path.read_bytes()).hexdigest() for path in files],
    )
    size = sum(path.stat().st_size for path in files) / 1e6
    detail = f"{1e3 * ours:.0f} ms for {size:.0f} MB and {len(weights)} learngenes, hashing {1e3 * floor:.0f} ms"
    return Row("verify a descendant, against hashing its files", ours / floor, None, detail)


def _site(world: World, number: int) -> SiteFolder:
    site = world.site(f"site-{number:03d}")
    credentials.ready(site)
    condensed(site, number)
    return site


def _submit(site: SiteFolder) -> float:
    started = time.perf_counter()
    with credentials.connect(site) as connection:
        submission.submit(SiteBlueprint(site), connection, silent)
    return time.perf_counter() - started


@contextmanager
def _cache(folder: Path) -> Iterator[None]:
    """What clients remember goes into a folder of the run."""
    before = dict(os.environ)
    os.environ.update(GENEPOOL_CACHE=str(folder), GENEPOOL_HOME=str(folder / "home"))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
