"""Who hears of every call and review of a running server, and the page for Prometheus if the operator wants one."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from genepool_console.metrics_page import MetricsPage
from genepool_server.front.guards.calls import Call
from genepool_server.observing import access_log
from genepool_server.pool.review_queue import Reviewed

if TYPE_CHECKING:
    from prometheus_client.registry import Collector


class Watcher:
    """Writes the access log, and counts when there is a page.

    Args:
        listen: PORT or HOST:PORT of the page; empty: nothing is counted.

    Raises:
        Unavailable: PORT_IN_USE.
        InvalidInput: OPTION_INVALID, the host is unknown here; DEPENDENCY_MISSING.
    """

    def __init__(self, listen: str = "") -> None:
        self._page: MetricsPage | None = None
        self._count: Callable[[Call], None] = lambda _: None
        self._count_review: Callable[[Reviewed], None] = lambda _: None
        if listen:
            self._page = MetricsPage(listen)
            from genepool_server.observing.meter import Meter

            meter = Meter()
            self._count, self._count_review = meter.count, meter.count_review
            self._page.show(meter.registry)

    @property
    def address(self) -> str:
        """HOST:PORT of the page; empty without one."""
        return self._page.address if self._page else ""

    def called(self, call: Call) -> None:
        """Hear of a call that is over."""
        access_log.record(call)
        self._count(call)

    def reviewed(self, review: Reviewed) -> None:
        """Hear of a review that was concluded."""
        access_log.record_review(review)
        self._count_review(review)

    def show(self, make: "Callable[[], Collector]") -> None:
        """Answer from now on, with what a collector reads; nothing without a page.

        Args:
            make: makes the collector, if it is needed.
        """
        if self._page is not None:
            self._page.registry.register(make())
            self._page.start()

    def close(self) -> None:
        """End the page; a second call does nothing."""
        if self._page is not None:
            self._page.close()
