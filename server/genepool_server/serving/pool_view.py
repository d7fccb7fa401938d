"""The read side of a pool, as whoever serves it sees it; `pool.pool.Pool` implements it."""

from collections.abc import Sequence
from typing import Protocol

from genepool_server.records import Contribution, ContributionStanding, Descended, LoadedBlueprint


class PoolView(Protocol):
    """What serving needs to know of a pool. Blocking, thread-safe."""

    def blueprints(self) -> Sequence[LoadedBlueprint]:
        """Every blueprint, sorted by name."""
        ...

    def blueprint(self, name: str) -> LoadedBlueprint:
        """The blueprint of that name.

        Raises:
            NotFound: BLUEPRINT_UNKNOWN.
        """
        ...

    def contribution(self, contribution_id: str) -> Contribution:
        """The contribution, in whatever state it is.

        Raises:
            NotFound: CONTRIBUTION_UNKNOWN.
        """
        ...

    def active(self, name: str, licenses: tuple[str, ...]) -> Sequence[Contribution]:
        """Active contributions to a blueprint, sorted by id; empty `licenses` means all.

        Raises:
            NotFound: BLUEPRINT_UNKNOWN.
        """
        ...

    def active_page(self, name: str, licenses: tuple[str, ...], after: str, count: int) -> Sequence[Contribution]:
        """The next `count` ones of `active` behind an id; empty `after`: from the first one on.

        Raises:
            NotFound: BLUEPRINT_UNKNOWN.
        """
        ...

    def active_count(self, name: str) -> int:
        """How many active contributions there are to a blueprint.

        Raises:
            NotFound: BLUEPRINT_UNKNOWN.
        """
        ...

    def active_digests(self, name: str) -> set[str]:
        """Hex SHA-256 of the files of all active contributions to a blueprint.

        Raises:
            NotFound: BLUEPRINT_UNKNOWN.
        """
        ...

    def release(self, made: Descended) -> None:
        """Record a descendant before it is signed, if every member is still active.

        Raises:
            Refused: CONTRIBUTION_NOT_ACTIVE, one was withdrawn while it was built.
        """
        ...

    def standing(self, contribution_id: str) -> ContributionStanding:
        """The state of a contribution, with the proof of its end.

        Raises:
            NotFound: CONTRIBUTION_UNKNOWN.
        """
        ...

    def descendant(self, sha256: str) -> Descended | None:
        """The descendant with that digest of model.safetensors, if it was handed over."""
        ...
