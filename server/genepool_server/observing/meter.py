"""What is counted while it happens: calls, refusals, ingest, reviews, selections and descents.

Every label has a fixed list of values, so the number of series is bounded whatever callers send.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, Info, ProcessCollector

import genepool_protocol
from genepool_protocol.wire.access import ACCESS
from genepool_protocol.wire.errors import REASONS
from genepool_server.front.guards.calls import Call
from genepool_server.pool.review_queue import Reviewed

OTHER: Final = "other"
"""Label of what is not in a list."""

_FOREIGN: Final = (
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)

METHODS: Final = {name: name.rpartition(".")[2] for name in (*ACCESS, *_FOREIGN)}
"""Full name of a method -> its label: service and method."""

STAGES: Final = {
    "ContributeService/Begin": "statement",
    "ContributeService/Write": "upload",
    "ContributeService/Commit": "commit",
}
"""Label of a method -> stage of the way in."""

_OUTCOMES: Final = ("ok", "refused", "broken-off")
_REVIEWS: Final = ("ACTIVE", "REJECTED", "QUARANTINED")
_CALL_SECONDS: Final = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 300.0, 1800.0)
_REVIEW_SECONDS: Final = (0.5, 2.0, 10.0, 30.0, 120.0, 600.0)


class Meter:
    """Counts events. Thread-safe.

    Attributes:
        registry: holds the figures; `observing.collector` adds those that are read when somebody asks.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._calls = Counter("genepool_calls", "Calls that are over.", ("method", "code"), registry=registry)
        self._seconds = Histogram(
            "genepool_call_seconds",
            "Seconds from a call's headers to its end.",
            ("method",),
            buckets=_CALL_SECONDS,
            registry=registry,
        )
        self._refusals = Counter("genepool_refusals", "Calls that were refused.", ("reason",), registry=registry)
        self._ingest = Counter(
            "genepool_ingest", "Steps of contributions on their way in.", ("stage", "outcome"), registry=registry
        )
        self._ingest_bytes = Counter(
            "genepool_ingest_bytes", "Bytes of learngenes that commits acknowledged, repeats too.", registry=registry
        )
        self._selections = Counter(
            "genepool_selections", "Selections, at the pool or at a consumer's home.", ("where",), registry=registry
        )
        self._descents = Counter("genepool_descents", "Descendants asked for.", ("outcome",), registry=registry)
        self._descent_bytes = Counter("genepool_descent_bytes", "Bytes of descendants handed over.", registry=registry)
        self._reviews = Counter(
            "genepool_reviews", "Verdicts; QUARANTINED waits for the operator.", ("by", "outcome"), registry=registry
        )
        self._review_seconds = Histogram(
            "genepool_review_seconds",
            "Seconds that the screens and the canary took.",
            buckets=_REVIEW_SECONDS,
            registry=registry,
        )
        Info("genepool_build", "What runs.", registry=registry).info({"version": genepool_protocol.__version__})
        ProcessCollector(registry=registry)
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """Make the series of short lists, so that a rate is right from the first event on."""
        for outcome in _OUTCOMES:
            self._descents.labels(outcome)
            for stage in STAGES.values():
                self._ingest.labels(stage, outcome)
        for outcome in _REVIEWS:
            self._reviews.labels("pool", outcome)
        for outcome in _REVIEWS[:2]:
            self._reviews.labels("operator", outcome)
        for where in ("pool", "home"):
            self._selections.labels(where)

    def count(self, call: Call) -> None:
        """Count a call that is over."""
        method = METHODS.get(call.method, OTHER)
        self._calls.labels(method, call.code).inc()
        self._seconds.labels(method).observe(call.seconds)
        if call.reason:
            self._refusals.labels(call.reason if call.reason in REASONS else OTHER).inc()
        if method in STAGES:
            self._count_ingest(method, call)
        elif method == "DescendService/Descend":
            self._descents.labels(_outcome(call)).inc()
            if call.code == "OK":
                self._descent_bytes.inc(call.size)
        elif call.code == "OK" and method in ("SelectService/Select", "SelectService/GetThin"):
            self._selections.labels("pool" if method == "SelectService/Select" else "home").inc()
        elif call.code == "OK" and method == "OperatorService/DecideContribution" and call.state in _REVIEWS:
            self._reviews.labels("operator", call.state).inc()

    def _count_ingest(self, method: str, call: Call) -> None:
        outcome = _outcome(call)
        if method == "ContributeService/Write" and outcome == "ok" and not call.state:
            outcome = "broken-off"  # a client that was killed ends its stream cleanly, without the last chunk
        self._ingest.labels(STAGES[method], outcome).inc()
        if method == "ContributeService/Commit" and call.code == "OK":
            self._ingest_bytes.inc(call.size)

    def count_review(self, review: Reviewed) -> None:
        """Count a review that was concluded."""
        self._reviews.labels("pool", review.state if review.state in _REVIEWS else OTHER).inc()
        self._review_seconds.observe(review.seconds)


def _outcome(call: Call) -> str:
    if call.reason:
        return "refused"
    return "ok" if call.code == "OK" else "broken-off"
