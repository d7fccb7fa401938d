"""The read side of a pool, as whoever serves it sees it; `pool.pool.OpenPool` implements it."""

from collections.abc import Sequence
from typing import Protocol

from genepool_protocol.learngene.blueprint import Blueprint
from genepool_server.records import Contribution, ContributionStanding, Descended, LoadedBlueprint


class PoolView(Protocol):
    """What serving needs to know of a pool. Blocking, thread-safe."""

    @property
    def contributions(self) -> "ContributionsView":
        """What it was given."""
        ...

    def blueprints(self) -> Sequence[LoadedBlueprint]:
        """Every blueprint, sorted by name."""
        ...

    def blueprint(self, name: str) -> LoadedBlueprint:
        """The blueprint of that name.

        Raises:
            NotFound: BLUEPRINT_UNKNOWN.
        """
        ...


class ContributionsView(Protocol):
    """What serving needs to know of a pool's contributions."""

    @property
    def descendants(self) -> "DescendantsView":
        """What was made from them."""
        ...

    def get(self, contribution_id: str) -> Contribution:
        """The contribution, in whatever state it is.

        Raises:
            NotFound: CONTRIBUTION_UNKNOWN.
        """
        ...

    def standing(self, contribution_id: str) -> ContributionStanding:
        """The state of a contribution, with the proof of its end.

        Raises:
            NotFound: CONTRIBUTION_UNKNOWN.
        """
        ...

    def active(self, blueprint: Blueprint, licenses: tuple[str, ...]) -> Sequence[Contribution]:
        """Active contributions to a blueprint, sorted by id; empty `licenses` means all."""
        ...

    def active_page(
        self, blueprint: Blueprint, licenses: tuple[str, ...], after: str, count: int
    ) -> Sequence[Contribution]:
        """The next `count` ones of `active` behind an id; empty `after`: from the first one on."""
        ...

    def active_count(self, blueprint: Blueprint) -> int:
        """How many active contributions there are to a blueprint."""
        ...

    def active_digests(self, blueprint: Blueprint) -> set[str]:
        """Hex SHA-256 of the files of all active contributions to a blueprint."""
        ...


class DescendantsView(Protocol):
    """What serving needs to know, and to record, of a pool's descendants."""

    def release(self, descended: Descended) -> None:
        """Record a descendant before it is signed, if every member is still active.

        Raises:
            Refused: CONTRIBUTION_NOT_ACTIVE, one was withdrawn while it was built.
        """
        ...

    def find(self, sha256: str) -> Descended | None:
        """The descendant with that digest of model.safetensors, if it was handed over."""
        ...
