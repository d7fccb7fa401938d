"""The Grafana dashboard asks for numbers that there are."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from genepool_client.site.flower.numbers import SiteMeter
from genepool_client.transport.tally import CALLS_FILE, TALLY
from genepool_server.observing.collector import StateCollector
from genepool_server.observing.meter import Meter
from genepool_server.observing.state import FrontState, PoolState, QueueState
from tests.integration.site.world import condensed, submit

ROOT = Path(__file__).parents[3]
NAME = re.compile(r"\b(?:genepool|process)_[a-z0-9_]+")

FRONT = FrontState(3, {"calls": QueueState(1, 2, 8)}, 2, 1, 4)
POOL = PoolState({"ACTIVE": 5}, 1, {"ACTIVE": 2}, 9, 1.0, {"w": 7}, 1, {"server": 30.5}, {"weights": 11})


def asked() -> set[str]:
    board = json.loads((ROOT / "deploy/grafana/genepool.json").read_text())
    targets = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    queries = [entry["query"]["query"] for entry in board["templating"]["list"] if isinstance(entry["query"], dict)]
    assert len(targets) > 30
    return {name for text in [*targets, *queries] for name in NAME.findall(text)}


def names(registry: CollectorRegistry) -> set[str]:
    return {name for metric in registry.collect() for name in _of(metric)}


def _of(metric: Metric) -> set[str]:
    parts = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",)}
    return {metric.name + part for part in parts.get(metric.type, ("",))}


@pytest.fixture(scope="module")
def shown(world):
    meter, gone = Meter(), asyncio.new_event_loop()
    collector = StateCollector(lambda: FRONT, lambda: POOL, gone)
    collector._of_loop = lambda: FRONT
    meter.registry.register(collector)
    gone.close()
    site = world.site("shown")
    condensed(site, 0)
    submit(site)
    TALLY.move_to(site.path / CALLS_FILE)
    return names(meter.registry) | names(SiteMeter(site).registry)


def test_every_number_that_the_dashboard_asks_for_exists(shown):
    assert asked() - shown == set()


def test_every_number_of_ours_is_on_the_dashboard_or_is_named_as_missing_there(shown):
    ours = {name for name in shown if name.startswith("genepool_") and not name.endswith(("_sum", "_count"))}
    assert ours - asked() == {"genepool_build_info", "genepool_site_log_size"}


def test_the_page_of_the_manual_names_numbers_that_there_are(shown):
    page = (ROOT / "docs/how-to/observe.md").read_text()
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    missing = {name for name in NAME.findall(page) if name not in families and name not in shown}
    assert missing <= {"genepool_server", "process_"}
