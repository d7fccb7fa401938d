"""Descendants that were handed over: recorded before they are signed, so that it is known what has whose weights."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from genepool_protocol.wire.errors import Refused
from genepool_protocol.wire.limits import LIMITS
from genepool_server.pool.log.signed_events import Notary
from genepool_server.pool.rows import withdrawal_rows
from genepool_server.pool.rows.pages import paged
from genepool_server.pool.store.ledger import Ledger
from genepool_server.records import Descended


@dataclass(frozen=True, slots=True)
class DescendantRecords:
    """What was made from contributions. Thread-safe.

    Attributes:
        ledger: where they are recorded.
        notary: has the time.
    """

    ledger: Ledger
    notary: Notary

    def release(self, descended: Descended) -> None:
        """Record a descendant before it is signed, if every member is still active.

        Raises:
            Refused: CONTRIBUTION_NOT_ACTIVE, one was withdrawn while it was built.
            StorageError: DISK_FULL or DISK_FAILED.
        """
        with self.ledger.write() as tx:  # no withdrawal can come between the look and the record
            _require_active(withdrawal_rows.states(tx, descended.members), descended.members)
            withdrawal_rows.add_descendant(tx, descended, self.notary.time()[:10], LIMITS.descendants)

    def find(self, sha256: str) -> Descended | None:
        """The descendant with that digest of model.safetensors, if it was handed over."""
        with self.ledger.read() as tx:
            return withdrawal_rows.descendant(tx, sha256)

    def of(self, contribution_id: str) -> Iterator[Descended]:
        """Those that were made from a contribution, by digest; read page by page."""
        return paged(
            lambda after, count: self._page(contribution_id, after, count), lambda descended: descended.sha256, ""
        )

    def by_first_day(self, since: str) -> dict[str, int]:
        """Day -> how many descendants were handed over for the first time on it, from a day (YYYY-MM-DD) on."""
        with self.ledger.read() as tx:
            return withdrawal_rows.descendants_by_first_day(tx, since)

    def totals(self) -> tuple[int, int]:
        """How many descendants are listed, and how often they were handed over, all together."""
        with self.ledger.read() as tx:
            return withdrawal_rows.descendant_totals(tx)

    def _page(self, contribution_id: str, after: str, count: int) -> list[Descended]:
        with self.ledger.read() as tx:
            return withdrawal_rows.descendants(tx, contribution_id, after, count)


def _require_active(states: dict[str, str], names: Sequence[str]) -> None:
    for name in names:
        state = states.get(name, "unknown")
        if state != "ACTIVE":
            raise Refused(
                "CONTRIBUTION_NOT_ACTIVE",
                f"the contribution {name[:16]} is {state.lower()} and takes no part",
                "select again",
            )
