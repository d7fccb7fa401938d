"""A pool's read side in memory, over real files: real seeds, real signed contributions, a real log."""

from pathlib import Path

import numpy as np

from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.trust import digest
from genepool_protocol.trust.keys import SigningKey
from genepool_protocol.wire.errors import NotFound, Refused
from genepool_server.records import Contribution, ContributionStanding, ContributionState, Descended, LoadedBlueprint
from tests.support.genes import write_seed
from tests.support.log import Log
from tests.support.sites import signed


class MemoryView:
    """See `genepool_server.serving.pool_view.PoolView`.

    Args:
        folder: where seeds and learngenes go.
        blueprints: what each blueprint changes of the tiny one.
    """

    def __init__(self, folder: Path, *blueprints: dict) -> None:
        self.folder = folder
        self.log = Log()
        self._rng = np.random.default_rng(5)
        self._keys: dict[str, SigningKey] = {}
        self._blueprints: dict[str, LoadedBlueprint] = {}
        self.contributions = MemoryContributions()
        for changes in blueprints or ({},):
            name = changes.get("name", "tiny-16")
            blueprint = write_seed(folder / name, self._rng, **changes)
            self._blueprints[name] = LoadedBlueprint(blueprint, folder / name / "seed.safetensors")

    def blueprints(self) -> list[LoadedBlueprint]:
        return [loaded for _, loaded in sorted(self._blueprints.items())]

    def blueprint(self, name: str) -> LoadedBlueprint:
        if name not in self._blueprints:
            raise NotFound("BLUEPRINT_UNKNOWN", f"there is no blueprint {name!r}")
        return self._blueprints[name]

    @property
    def only(self) -> Blueprint:
        """The blueprint, when there is one."""
        (loaded,) = self._blueprints.values()
        return loaded.blueprint

    def add(
        self,
        site: str = "north",
        *,
        name: str = "tiny-16",
        licence: str = "CC-BY-4.0",
        state: ContributionState = "ACTIVE",
        scale: float = 0.2,
    ) -> Contribution:
        """One more contribution: signed, logged, on disk."""
        blueprint = self.blueprint(name).blueprint
        key = self._keys.setdefault(site, SigningKey.generate())
        made = signed(blueprint, key, self._rng, scale=scale, site=site, license=licence)
        index, receipt = self.log.append(made.bundle, key)
        path = self.folder / "blobs" / digest.sha256_hex(made.weights)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(made.weights)
        found = Contribution(
            contribution_id=made.upload_id,
            site=site,
            state=state,
            license=licence,
            blueprint_sha256=blueprint.sha256,
            sha256=path.name,
            size_bytes=len(made.weights),
            images=100,
            log_index=index,
            path=path,
            manifest=made.manifest,
            receipt=receipt,
            site_key_pem=key.public.pem,
        )
        self.contributions.held[found.contribution_id] = found
        return found


class MemoryContributions:
    """See `genepool_server.serving.pool_view.ContributionsView`."""

    def __init__(self) -> None:
        self.held: dict[str, Contribution] = {}
        self.descendants = MemoryDescendants(self)

    def get(self, contribution_id: str) -> Contribution:
        if contribution_id not in self.held:
            raise NotFound("CONTRIBUTION_UNKNOWN", f"there is no contribution {contribution_id[:16]!r}")
        return self.held[contribution_id]

    def standing(self, contribution_id: str) -> ContributionStanding:
        return ContributionStanding(contribution_id, self.get(contribution_id).state, b"")

    def active(self, blueprint: Blueprint, licenses: tuple[str, ...]) -> list[Contribution]:
        return [
            contribution
            for _, contribution in sorted(self.held.items())
            if contribution.state == "ACTIVE"
            and contribution.blueprint_sha256 == blueprint.sha256
            and (not licenses or contribution.license in licenses)
        ]

    def active_page(
        self, blueprint: Blueprint, licenses: tuple[str, ...], after: str, count: int
    ) -> list[Contribution]:
        return [entry for entry in self.active(blueprint, licenses) if entry.contribution_id > after][:count]

    def active_count(self, blueprint: Blueprint) -> int:
        return len(self.active(blueprint, ()))

    def active_digests(self, blueprint: Blueprint) -> set[str]:
        return {entry.sha256 for entry in self.active(blueprint, ())}


class MemoryDescendants:
    """See `genepool_server.serving.pool_view.DescendantsView`."""

    def __init__(self, contributions: MemoryContributions) -> None:
        self._contributions = contributions
        self._released: dict[str, Descended] = {}

    def release(self, descended: Descended) -> None:
        for name in descended.members:
            if self._contributions.get(name).state != "ACTIVE":
                raise Refused("CONTRIBUTION_NOT_ACTIVE", "it was withdrawn")
        self._released[descended.sha256] = descended

    def find(self, sha256: str) -> Descended | None:
        return self._released.get(sha256)
