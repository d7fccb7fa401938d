"""The states of a contribution, as a table, and what moves one from state to state."""

from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import Connection

from genepool_protocol.wire.errors import Refused
from genepool_server.pool.log.signed_events import Notary
from genepool_server.pool.rows import contribution_rows
from genepool_server.pool.store.ledger import Ledger
from genepool_server.records import Contribution, ContributionState

MOVES: Final[frozenset[tuple[ContributionState, ContributionState]]] = frozenset(
    {("QUARANTINED", "ACTIVE"), ("QUARANTINED", "REJECTED")}
)
"""(from, to). A rejected contribution never serves, and an active one leaves only by being withdrawn."""

PASSED: Final = "passed every check"
"""The note of a contribution that became active without an operator."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a review says of a contribution.

    Attributes:
        state: QUARANTINED: it is held for the operator.
        note: why, for site and operator; never empty.
        screened: whether screens and canary found nothing.
        told: (id, sentence): what the operator is told of other contributions, in their notes.
    """

    state: Literal["ACTIVE", "REJECTED", "QUARANTINED"]
    note: str
    screened: bool = False
    told: tuple[tuple[str, str], ...] = ()


def decide(
    ledger: Ledger, notary: Notary, found: Contribution, state: Literal["ACTIVE", "REJECTED"], note: str
) -> None:
    """Move a contribution by the operator's word, and log that.

    Raises:
        Refused: STATE_TRANSITION.
        StorageError: DISK_FULL or DISK_FAILED.
    """
    with ledger.read() as tx:
        _require(tx, found, state)
    with notary.transaction() as tx:
        _require(tx, found, state)
        # what the screens said stays to be read, unless the operator says something
        contribution_rows.set_state(tx, found.contribution_id, state, note or found.note)
        notary.admitted(tx, found.contribution_id, found.sha256, passed=state == "ACTIVE", policy="operator")


def conclude(notary: Notary, found: Contribution, verdict: Verdict) -> None:
    """Move a contribution by what a review found, and log that; or hold it, which is no decision and not logged.

    Raises:
        Refused: STATE_TRANSITION, it was decided or withdrawn meanwhile.
        StorageError: DISK_FULL or DISK_FAILED.
    """
    with notary.transaction() as tx:
        _require(tx, found, "REJECTED" if verdict.state == "QUARANTINED" else verdict.state)
        contribution_rows.set_state(tx, found.contribution_id, verdict.state, verdict.note)
        if verdict.state != "QUARANTINED":
            notary.admitted(
                tx,
                found.contribution_id,
                found.sha256,
                passed=verdict.state == "ACTIVE",
                policy="automatic",
                screened=verdict.screened,
            )
        for name, sentence in verdict.told:
            _tell(tx, name, sentence)


def _tell(tx: Connection, contribution_id: str, sentence: str) -> None:
    """Add a sentence to the note of an active contribution, once: its state is the operator's business."""
    state, note = contribution_rows.standing(tx, contribution_id)
    if state == "ACTIVE" and sentence.partition(":")[0] not in note:
        contribution_rows.set_state(tx, contribution_id, state, f"{note}; {sentence}")


def _require(tx: Connection, found: Contribution, state: ContributionState) -> None:
    current = contribution_rows.state(tx, found.contribution_id)
    if (current, state) not in MOVES:
        raise Refused(
            "STATE_TRANSITION",
            f"the contribution {found.contribution_id[:16]} is {current.lower()} and cannot become {state.lower()}",
            "only a quarantined contribution can be admitted or rejected",
        )
