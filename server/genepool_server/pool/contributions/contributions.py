"""What a pool was given: every contribution, in whatever state it is, and the ways in and out.

QUARANTINED -> ACTIVE | REJECTED, and each of the three -> WITHDRAWN
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.wire.errors import NotFound
from genepool_server.admission.company import Company
from genepool_server.pool.contributions import decisions
from genepool_server.pool.contributions.decisions import Verdict
from genepool_server.pool.contributions.descendants import DescendantRecords
from genepool_server.pool.contributions.intake import Intake
from genepool_server.pool.contributions.replies import WithdrawalReply
from genepool_server.pool.contributions.sketching import Sketcher
from genepool_server.pool.contributions.withdrawal import Withdrawals
from genepool_server.pool.log.log import Log
from genepool_server.pool.log.signed_events import Notary
from genepool_server.pool.rows import contribution_rows, withdrawal_rows
from genepool_server.pool.rows.pages import paged
from genepool_server.pool.store.blobs import Blobs
from genepool_server.pool.store.ledger import Ledger
from genepool_server.records import Contribution, ContributionStanding, ContributionState

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Contributions:
    """The part of a pool that is about its contributions. Thread-safe.

    Implements `serving.pool_view.ContributionsView`.

    Attributes:
        ledger: where they stand.
        log: where they are logged; nothing is answered that it does not show.
        notary: signs what is decided about them.
        blobs: their weights.
        sketcher: opens what is kept of withdrawn ones.
        intake: the way in.
        withdrawals: the way out.
        descendants: what was made from them.
    """

    ledger: Ledger
    log: Log
    notary: Notary
    blobs: Blobs
    sketcher: Sketcher
    intake: Intake
    withdrawals: Withdrawals
    descendants: DescendantRecords

    def all(self) -> list[Contribution]:
        """Every contribution, in the order of the log, all at once."""
        return list(self.each())

    def each(self, prefix: str = "", *, brief: bool = False) -> Iterator[Contribution]:
        """Every contribution, in the order of the log; read page by page.

        Args:
            prefix: only those whose ids start so.
            brief: without manifest, receipt and key.
        """
        size, rows = self.log.size, contribution_rows.briefs if brief else contribution_rows.contributions
        return paged(
            lambda after, count: self._read(rows, self.blobs.path, size, prefix, after, count),
            lambda contribution: contribution.log_index,
            -1,
        )

    def get(self, contribution_id: str) -> Contribution:
        """The contribution, in whatever state it is.

        Raises:
            NotFound: CONTRIBUTION_UNKNOWN.
        """
        contribution = self._read(contribution_rows.contribution, self.blobs.path, contribution_id)
        if contribution is None or contribution.log_index >= self.log.size:
            raise unknown_contribution(contribution_id)
        return contribution

    def standing(self, contribution_id: str) -> ContributionStanding:
        """The state of a contribution, with the proof of its end.

        Raises:
            NotFound: CONTRIBUTION_UNKNOWN.
        """
        contribution = self.get(contribution_id)
        row = self._read(withdrawal_rows.withdrawal, contribution_id)
        return ContributionStanding(contribution_id, contribution.state, b"" if row is None else row.receipt)

    def totals(self) -> dict[ContributionState, tuple[int, int]]:
        """State -> how many are in it, and the bytes of their weights together."""
        return self._read(contribution_rows.totals, self.log.size)

    def unreviewed_count(self) -> int:
        """How many wait for a review; unlike `unreviewed` it writes nothing."""
        return self._read(contribution_rows.unreviewed_count, self.log.size)

    # -- those that serve ----------------------------------------------------------------------------------------------

    def active(self, blueprint: Blueprint, licenses: tuple[str, ...]) -> list[Contribution]:
        """Active contributions to a blueprint, sorted by id; empty `licenses` means all."""
        rows, path = contribution_rows.active, self.blobs.path
        return self._read(rows, path, self.log.size, blueprint.sha256, licenses)

    def active_page(
        self, blueprint: Blueprint, licenses: tuple[str, ...], after: str, count: int
    ) -> list[Contribution]:
        """The next ones of `active` behind an id."""
        rows, path = contribution_rows.active, self.blobs.path
        return self._read(rows, path, self.log.size, blueprint.sha256, licenses, after, count)

    def active_count(self, blueprint: Blueprint) -> int:
        """How many active contributions there are to a blueprint."""
        return self._read(contribution_rows.active_count, self.log.size, blueprint.sha256)

    def active_digests(self, blueprint: Blueprint) -> set[str]:
        """Hex SHA-256 of the files of all active contributions to a blueprint."""
        return self._read(contribution_rows.active_digests, self.log.size, blueprint.sha256)

    # -- deciding ------------------------------------------------------------------------------------------------------

    def decide(self, contribution_id: str, state: Literal["ACTIVE", "REJECTED"], note: str) -> Contribution:
        """The operator's word on a quarantined contribution.

        Raises:
            NotFound: CONTRIBUTION_UNKNOWN.
            Refused: STATE_TRANSITION.
        """
        decisions.decide(self.ledger, self.notary, self.get(contribution_id), state, note)
        return self.get(contribution_id)

    def withdraw_as_operator(self, contribution_id: str, reason: str) -> WithdrawalReply:
        """End a contribution by the operator's word, as `Withdrawals.withdraw` does by its site's.

        Raises:
            NotFound: CONTRIBUTION_UNKNOWN.
            StorageError: DISK_FULL or DISK_FAILED: withdraw again.
        """
        return self.withdrawals.by_operator(self.get(contribution_id), reason)

    def unreviewed(self) -> list[Contribution]:
        """Quarantined contributions that no review has looked at, in the order of the log.

        Raises:
            StorageError: DISK_FULL or DISK_FAILED.
        """
        self.log.publish()  # makes up for a conclusion that was stored, and whose head could not be shown
        return self._read(contribution_rows.unreviewed, self.blobs.path, self.log.size)

    def company(self, contribution: Contribution) -> Company:
        """Who judges a contribution, in which order, and what was withdrawn that it is compared with.

        Raises:
            StorageError: LEDGER_INCONSISTENT, a sketch does not open.
        """
        with self.ledger.read() as tx:
            active = contribution_rows.active(tx, self.blobs.path, self.log.size, contribution.blueprint_sha256, ())
            return self.sketcher.company(tx, contribution, active)

    def conclude(self, contribution_id: str, verdict: Verdict) -> Contribution:
        """What a review found: the contribution becomes active, is rejected, or is held for the operator.

        Raises:
            NotFound: CONTRIBUTION_UNKNOWN.
            Refused: STATE_TRANSITION, it was decided or withdrawn meanwhile.
            StorageError: DISK_FULL or DISK_FAILED: conclude again.
        """
        decisions.conclude(self.notary, self.get(contribution_id), verdict)
        return self.get(contribution_id)

    def _read(self, question: Callable[..., _T], *values: Any) -> _T:
        with self.ledger.read() as tx:
            return question(tx, *values)


def unknown_contribution(contribution_id: str) -> NotFound:
    """The error of a contribution that is not there."""
    return NotFound(
        "CONTRIBUTION_UNKNOWN",
        f"the pool holds no contribution {contribution_id[:64]!r}",
        "list them with genepool-server contributions",
    )
