"""All screens and the canary over one contribution: a pure function of it, the seed and the active members."""

from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from genepool_protocol.learngene.algebra import Flat, Stored
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.expansion import gene_layout
from genepool_protocol.learngene.tensors import TensorFile
from genepool_server.admission import profile, screens
from genepool_server.admission.profile import Profile
from genepool_server.admission.screens import Finding, Subject

COMPARED: Final = 32
"""Members of other sites that norms and directions are compared with, at most: those with the lowest ids."""


@dataclass(frozen=True, slots=True)
class Member:
    """An active member of the pool.

    Attributes:
        contribution_id: names it.
        sha256: of its file, which never changes.
        path: of that file.
        own: whether it is of the same site as the contribution.
    """

    contribution_id: str
    sha256: str
    path: Path
    own: bool


class Reviewer:
    """Reviews contributions to one blueprint; remembers the members' profiles and nothing else.

    Args:
        blueprint: the family.
        seed: its file.
    """

    def __init__(self, blueprint: Blueprint, seed: Path) -> None:
        whole = gene_layout(blueprint, blueprint.seed.components)
        self._blueprint = blueprint
        self._seed: Flat = TensorFile(seed).flat(whole).astype(np.float32)
        self._profiles: MutableMapping[str, Profile] = {}

    def review(self, path: Path, members: Sequence[Member], *, canary: bool = True) -> list[Finding]:
        """What is wrong with a learngene; nothing when the list is empty.

        Args:
            path: the learngene's file.
            members: every active one of the blueprint, in the order of their ids.
            canary: whether it is looked at by the canary, too, which needs torch.

        Raises:
            InvalidInput: FILE_MALFORMED or SAFETENSORS_MALFORMED, a file is gone or was overwritten.
        """
        subject = Subject(self._blueprint, self._seed[: self._size], self._flat(path))
        self._forget(members)
        others = [member for member in members if not member.own]
        peers = [self._stored(member.path) for member in others[:COMPARED]]
        found = [*screens.block_norms(subject), *screens.symmetries(subject)]
        found += screens.norm_ratios(subject, [self._profile(member) for member in others[:COMPARED]])
        found += self._copies(subject, members)
        found += screens.directions(subject, peers)
        if canary:
            found += self._canary(subject.delta, peers)
        return found

    def _copies(self, subject: Subject, members: Sequence[Member]) -> Iterable[Finding]:
        mine = profile.profile(self._blueprint, subject.delta)
        near = screens.candidates(mine, [self._profile(member) for member in members])
        return screens.near_copies(subject, ((members[i].contribution_id, self._flat(members[i].path)) for i in near))

    def _canary(self, delta: Flat, peers: Sequence[Stored]) -> Iterable[Finding]:
        from genepool_server.admission.canary import Canary

        return Canary(self._blueprint, self._seed).findings(delta, peers)

    def _profile(self, member: Member) -> Profile:
        if member.sha256 not in self._profiles:
            self._profiles[member.sha256] = profile.profile(self._blueprint, self._flat(member.path))
        return self._profiles[member.sha256]

    def _forget(self, members: Sequence[Member]) -> None:
        """Keep nothing of a member that left."""
        for sha256 in self._profiles.keys() - {member.sha256 for member in members}:
            del self._profiles[sha256]

    def _stored(self, path: Path) -> Stored:
        return TensorFile(path).flat(profile.layout_of(self._blueprint))

    def _flat(self, path: Path) -> Flat:
        return self._stored(path).astype(np.float32)

    @property
    def _size(self) -> int:
        return sum(int(np.prod(shape)) for shape in profile.layout_of(self._blueprint).values())
