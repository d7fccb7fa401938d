"""The states of a contribution, as a table."""

from typing import Final, Literal

from genepool_protocol.wire.errors import Refused
from genepool_server.pool import contribution_rows
from genepool_server.pool.notary import Notary
from genepool_server.pool.view import Contribution, ContributionState

MOVES: Final[frozenset[tuple[ContributionState, ContributionState]]] = frozenset(
    {("QUARANTINED", "ACTIVE"), ("QUARANTINED", "REJECTED")}
)
"""(from, to). A rejected contribution never serves, and an active one leaves only by being withdrawn."""

PASSED: Final = "passed every check"
"""The note of a contribution that became active without an operator."""


def decide(notary: Notary, found: Contribution, state: Literal["ACTIVE", "REJECTED"], note: str) -> None:
    """Move a contribution, and log that.

    Raises:
        Refused: STATE_TRANSITION.
        StorageError: DISK_FULL or DISK_FAILED.
    """
    with notary.transaction() as tx:
        current = contribution_rows.state(tx, found.contribution_id)
        if (current, state) not in MOVES:
            raise Refused(
                "STATE_TRANSITION",
                f"the contribution {found.contribution_id[:16]} is {current.lower()} and cannot become {state.lower()}",
                "only a quarantined contribution can be admitted or rejected",
            )
        contribution_rows.set_state(tx, found.contribution_id, state, note)
        notary.admitted(tx, found.contribution_id, found.sha256, passed=state == "ACTIVE", policy="operator")
