"""`python -m tests.smoke`: two sites contribute, a consumer descends, Prometheus reads; all through one port."""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from genepool_client.simulate import partition
from genepool_protocol.machine.processes import script
from tests.smoke.topology import READY, MissingProgramError, Topology, until

SITES = ("animals", "clothing")


def steps(top: Topology) -> Iterator[tuple[str, Callable[[], None]]]:
    """What is done, each with its sentence."""
    (top.root / "data").mkdir()
    scenario = partition.samples(top.root / "data", 6)
    images = {site.name: site.folder for site in scenario.sites}
    yield "PostgreSQL, S3 and a pool whose one door is its entrance", top.start_pool
    yield "HAProxy with deploy/proxy/haproxy.cfg before it", top.start_proxy
    yield "Prometheus with deploy/compose/prometheus.yml", top.start_prometheus
    yield "two sites enrol and are approved", lambda: [enrol(top, name, images[name]) for name in SITES]
    yield "they contribute, invited by a campaign", lambda: campaign(top)
    yield "a consumer selects and descends, and verifies what it got", lambda: consume(top, scenario.tasks[0])
    yield "Prometheus has read of it", lambda: watched(top)
    yield "fsck finds nothing, over both stores", lambda: fsck(top)


def enrol(top: Topology, name: str, images: Path) -> None:
    """The way of a site's people and the operator, by their commands."""
    invitation, folder = top.root / f"invite-{name}.json", top.root / name
    top.server("invite", name, "--out", invitation)
    made = top.command("genepool", "site", "init", folder, "--invite", invitation, "--data", images, "--steps", "6")
    assert made["pool"] == f"localhost:{top.port}"
    enrolled = top.command("genepool", "site", "enrol", folder)
    top.server("approve", name, "--fingerprint", enrolled["fingerprint"])


def campaign(top: Topology) -> None:
    """Both nodes, and an end with code 0."""
    words = ["--min-sites", "2", "--deadline", "15m", "--dir", str(top.pool), "--json"]
    started = top.spawn("campaign", script("genepool-server"), "campaign", "start", *words)
    started.wait_for(f" is running at localhost:{top.port}", READY)
    for name in SITES:
        top.spawn(f"node-{name}", script("genepool"), "site", "run", str(top.root / name), "--yes")
    assert started.wait(900) == 0, started.tail(40)
    rows = top.server("contributions")
    assert sorted(row["site"] for row in rows) == sorted(SITES)
    until(lambda: {row["state"] for row in top.server("contributions")} == {"ACTIVE"}, lambda: rows)


def consume(top: Topology, task: Path) -> None:
    """By the pool's pool.json, whose address is the proxy's."""
    out = top.root / "descendant"
    words = ["--pool", top.pool / "pool.json", "--support", task]
    selection = top.command("genepool", "select", *words)
    assert {candidate["site"] for candidate in selection["candidates"]} == set(SITES)
    top.command("genepool", "descend", *words, "--size", "3,1", "--out", out)
    verified = top.command("genepool", "verify", out, "--pool", top.pool / "pool.json", "--online")
    assert len(verified["checks"]) == 2


def watched(top: Topology) -> None:
    """The pool is up, and holds two active contributions; it has handed one descendant over."""
    for query, value in (
        ('up{job="genepool"}', 1),
        ('sum(genepool_contributions{state="ACTIVE"})', 2),
        ("sum(genepool_descents_total)", 1),
    ):
        until(lambda query=query, value=value: top.asked(query) == [value], lambda query=query: top.asked(query))


def fsck(top: Topology) -> None:
    """Everything is recomputed from its bytes."""
    report = top.command("genepool-server", "fsck", top.pool)
    assert (report["problems"], report["contributions"]) == ([], 2)


def main() -> int:
    """Exit code: 0 when all of it works, 2 when a program is not installed."""
    with tempfile.TemporaryDirectory(prefix="genepool-smoke-") as root:
        try:
            with Topology(Path(root)) as top:
                for sentence, step in steps(top):
                    began = time.monotonic()
                    step()
                    print(f"{time.monotonic() - began:6.1f} s  {sentence}", flush=True)
        except MissingProgramError as exc:
            print(exc, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
