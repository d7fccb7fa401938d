"""The numbers of `genepool site run` for Prometheus: the guard's decisions, calls to the pool, what the folder holds.

Labels are from fixed lists. There is no word of images, classes, paths or keys among the figures.
"""

import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Info, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

import genepool_protocol
from genepool_client.site import outbox
from genepool_client.site.flower.supernode import Outcome, What
from genepool_client.site.folder import SiteFolder
from genepool_client.transport import tally
from genepool_protocol.wire.errors import GenepoolError

_DAY: Final = 86_400.0


class SiteMeter:
    """Counts what the guard decides, and reads the rest when somebody asks. Thread-safe.

    Attributes:
        registry: holds the figures.

    Args:
        site: whose.
    """

    def __init__(self, site: SiteFolder) -> None:
        self.registry = registry = CollectorRegistry()
        bundles = Counter("genepool_site_bundles", "App bundles that came.", ("outcome",), registry=registry)
        replies = Counter("genepool_site_replies", "Replies to invitations.", ("outcome",), registry=registry)
        self._counters = {"bundle": bundles, "reply": replies}
        for outcome in ("accepted", "refused"):
            bundles.labels(outcome)
        for outcome in ("receipt", "refused", "error"):
            replies.labels(outcome)
        Info("genepool_build", "What runs.", registry=registry).info({"version": genepool_protocol.__version__})
        ProcessCollector(registry=registry)
        registry.register(SiteCollector(site))

    def count(self, what: What, outcome: Outcome) -> None:
        """Count a decision of the guard."""
        self._counters[what].labels(outcome).inc()


class SiteCollector(Collector):
    """What a site's folder says when somebody asks; a part that cannot be read is left out.

    Args:
        site: whose.
    """

    def __init__(self, site: SiteFolder) -> None:
        self._site = site

    def collect(self) -> Iterator[Metric]:
        """The families."""
        yield from _calls(tally.read(self._site.path / tally.CALLS_FILE))
        for part in (_certificate, _outbox, _log, _disk):
            try:
                families = list(part(self._site))
            except (GenepoolError, OSError, ValueError, IndexError):  # it changes under our hands
                continue
            yield from families


def _calls(counted: tally.Tally) -> Iterator[Metric]:
    calls = CounterMetricFamily("genepool_site_calls", "Calls to the pool that are over.", labels=("method", "code"))
    seconds = HistogramMetricFamily("genepool_site_call_seconds", "Seconds of a call to the pool.", labels=("method",))
    for method, row in counted.methods().items():
        for code, count in row.codes.items():
            calls.add_metric((method, code), count)
        ends = [*map(str, tally.SECONDS), "+Inf"]
        sums = [sum(row.buckets[: number + 1]) for number in range(len(ends))]
        seconds.add_metric((method,), list(zip(ends, map(float, sums), strict=True)), row.seconds)
    yield calls
    yield seconds


def _certificate(site: SiteFolder) -> Iterator[Metric]:
    identity = site.keys.tls()
    if identity.chain:
        days = (identity.ends - datetime.now(UTC)).total_seconds() / _DAY
        yield _gauge("genepool_site_certificate_days_left", "Days until the site's certificate ends.", days)


def _outbox(site: SiteFolder) -> Iterator[Metric]:
    artefacts = outbox.artefacts(site)
    received = [artefact for artefact in artefacts if artefact.received]
    unfinished = sum(not artefact.signed for artefact in artefacts)
    family = GaugeMetricFamily("genepool_site_outbox", "Learngenes in the outbox.", labels=("state",))
    family.add_metric(("unfinished",), unfinished)
    family.add_metric(("signed",), len(artefacts) - unfinished - len(received))
    family.add_metric(("received",), len(received))
    yield family
    sizes = sum(path.stat().st_size for path in site.outbox.rglob("*") if path.is_file())
    yield _gauge("genepool_site_outbox_bytes", "Bytes in the outbox.", sizes)
    if received:
        last = max((artefact.path / outbox.RECEIPT_FILE).stat().st_mtime for artefact in received)
        yield _gauge("genepool_site_receipt_age_seconds", "Seconds since the last receipt.", _age(last))


def _log(site: SiteFolder) -> Iterator[Metric]:
    if site.checkpoint.exists():
        size = int(site.checkpoint.read_text(encoding="utf-8").splitlines()[1])
        yield _gauge("genepool_site_log_size", "Leaves of the pool's log as the site saw it last.", size)
        age = _age(site.checkpoint.stat().st_mtime)
        yield _gauge("genepool_site_log_head_age_seconds", "Seconds since the site saw a new head.", age)


def _disk(site: SiteFolder) -> Iterator[Metric]:
    free = shutil.disk_usage(site.path).free
    yield _gauge("genepool_site_disk_free_bytes", "Free bytes of the disk with the site's folder.", free)


def _age(moment: float) -> float:
    return max(0.0, time.time() - moment)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
