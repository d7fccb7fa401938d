"""What stands at a moment, and how Prometheus is told: values to metric families, nothing is read here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


@dataclass(frozen=True, slots=True)
class QueueState:
    """One gate: how many requests are at work and wait, and how many may be at work."""

    at_work: int
    waiting: int
    limit: int


@dataclass(frozen=True, slots=True)
class FrontState:
    """What the event loop knows.

    Attributes:
        open_calls: that are not over.
        queues: by the kind of work.
        workers_wanted: worker processes that there should be.
        workers_running: that there are.
        ray_restarts: how often Ray was started again.
    """

    open_calls: int
    queues: Mapping[str, QueueState]
    workers_wanted: int
    workers_running: int
    ray_restarts: int


@dataclass(frozen=True, slots=True)
class PoolState:
    """What ledger, folder and keys say.

    Attributes:
        contributions: how many are in each state.
        unreviewed: how many wait for a review.
        sites: how many are in each state.
        log_size: leaves of the published log.
        head_age: seconds since the last head was published; None while there is none.
        witnesses: the largest head that each one cosigned, by its name in the settings.
        quorum: of them.
        days_left: days until each certificate, and each file of the trust root that operators sign, ends.
        store_bytes: by place.
        spool_bytes: of unfinished uploads.
        spool_uploads: how many of them.
        disk_free: bytes.
    """

    contributions: Mapping[str, int]
    unreviewed: int
    sites: Mapping[str, int]
    log_size: int
    head_age: float | None
    witnesses: Mapping[str, int]
    quorum: int
    days_left: Mapping[str, float]
    store_bytes: Mapping[str, int] = field(default_factory=dict)
    spool_bytes: int = 0
    spool_uploads: int = 0
    disk_free: int = 0


def front_families(state: FrontState) -> Iterator[Metric]:
    """The metric families of what the event loop knows."""
    yield _gauge("genepool_calls_open", "Calls that are not over.", state.open_calls)
    fields = {"at_work": "Requests at work.", "waiting": "Requests that wait.", "limit": "Requests at work at most."}
    for name, text in fields.items():
        values = {queue: getattr(standing, name) for queue, standing in state.queues.items()}
        yield _gauges(f"genepool_queue_{name}", text, "queue", values)
    yield _gauge("genepool_workers_wanted", "Ray workers that there should be.", state.workers_wanted)
    yield _gauge("genepool_workers_running", "Ray workers that there are.", state.workers_running)
    yield CounterMetricFamily("genepool_ray_restarts", "How often Ray was started again.", value=state.ray_restarts)


def pool_families(state: PoolState) -> Iterator[Metric]:
    """The metric families of what ledger, folder and keys say."""
    yield _gauges("genepool_contributions", "Contributions.", "state", state.contributions)
    yield _gauge("genepool_reviews_waiting", "Contributions that wait for a review.", state.unreviewed)
    yield _gauges("genepool_sites", "Sites.", "state", state.sites)
    yield _gauge("genepool_log_size", "Leaves of the published log.", state.log_size)
    if state.head_age is not None:
        yield _gauge("genepool_log_head_age_seconds", "Seconds since the last head was published.", state.head_age)
    yield _gauge("genepool_witness_quorum", "Witnesses that clients ask for.", state.quorum)
    yield _gauges("genepool_witness_size", "The largest head that it cosigned.", "witness", state.witnesses)
    yield _gauges("genepool_certificate_days_left", "Days until it ends.", "certificate", state.days_left)
    yield _gauges("genepool_store_bytes", "Bytes that are kept.", "place", state.store_bytes)
    yield _gauge("genepool_spool_bytes", "Bytes of unfinished uploads.", state.spool_bytes)
    yield _gauge("genepool_spool_uploads", "Unfinished uploads.", state.spool_uploads)
    yield _gauge("genepool_disk_free_bytes", "Free bytes of the disk with the pool's folder.", state.disk_free)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family
