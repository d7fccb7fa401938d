"""All screens and the canary over one contribution: a pure function of it, the seed, the active members and a salt."""

from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from genepool_protocol.learngene.algebra import Flat, Stored
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.expansion import gene_layout
from genepool_protocol.learngene.tensors import TensorFile
from genepool_server.admission import copies, profile, screens
from genepool_server.admission.copies import Near, Sketch, WithdrawnSketch
from genepool_server.admission.profile import Profile
from genepool_server.admission.screens import Finding, Subject

if TYPE_CHECKING:
    from genepool_server.admission.canary import Canary

COMPARED: Final = 32
"""Members that norms and directions are compared with, at most: the first one of each other site."""


@dataclass(frozen=True, slots=True)
class ActiveMember:
    """An active member of the pool.

    Attributes:
        contribution_id: names it.
        sha256: of its file, which never changes.
        path: of that file.
        own: whether it is of the same site as the contribution.
        site: whose it is.
        index: of its leaf: who came first.
    """

    contribution_id: str
    sha256: str
    path: Path
    own: bool
    site: str
    index: int


@dataclass(frozen=True, slots=True)
class Looked:
    """What one look at a learngene, the seed and the active members gives.

    Attributes:
        findings: all but those of copies.
        near: active members that it resembles.
        sketch: of the learngene, to be compared with what was withdrawn.
    """

    findings: list[Finding]
    near: list[Near]
    sketch: Sketch


class Reviewer:
    """Reviews contributions to one blueprint; remembers the members' profiles and what the canary says of the seed.

    Args:
        blueprint: the family.
        seed: its file.
        salt: the pool's, of sketches.
    """

    def __init__(self, blueprint: Blueprint, seed: Path, salt: bytes) -> None:
        whole = gene_layout(blueprint, blueprint.seed.components)
        self._blueprint = blueprint
        self._seed: Flat = TensorFile(seed).flat(whole).astype(np.float32)
        self._salt = salt
        self._profiles: MutableMapping[str, Profile] = {}

    def review(
        self,
        path: Path,
        members: Sequence[ActiveMember],
        withdrawn: Sequence[WithdrawnSketch] = (),
        *,
        canary: bool = True,
    ) -> list[Finding]:
        """What is wrong with a learngene; see `look` for the arguments. Nothing when the list is empty."""
        return judged(self.look(path, members, canary=canary), withdrawn)

    def look(self, path: Path, members: Sequence[ActiveMember], *, canary: bool = True) -> Looked:
        """Compare a learngene with the seed and the active members.

        Args:
            path: the learngene's file.
            members: every active one of the blueprint, in the order in which they judge.
            canary: whether it is looked at by the canary, too, which needs torch.

        Raises:
            InvalidInput: FILE_MALFORMED or SAFETENSORS_MALFORMED, a file is gone or was overwritten.
        """
        subject = Subject(self._blueprint, self._seed[: self._size], self._flat(path))
        self._forget(members)
        judges = judges_of(members)
        peers = [self._stored(member.path) for member in judges]
        findings = [*screens.block_norms(subject), *screens.symmetries(subject)]
        findings += screens.norm_ratios(subject, [self._profile(member) for member in judges])
        findings += screens.directions(subject, peers)
        if canary:
            findings += self._canary(subject.delta, peers)
        mine = profile.profile(self._blueprint, subject.delta, self._salt)
        return Looked(findings, self._near(subject, mine, members), Sketch(mine.direction, mine.products))

    def _near(self, subject: Subject, mine: Profile, members: Sequence[ActiveMember]) -> list[Near]:
        places = screens.candidates(mine, [self._profile(member) for member in members])
        close = screens.near(subject, ((place, self._flat(members[place].path)) for place in places))
        return [
            Near(members[place].contribution_id, members[place].own, members[place].index, plain, disguised)
            for place, plain, disguised in close
        ]

    def _canary(self, delta: Flat, peers: Sequence[Stored]) -> Iterable[Finding]:
        return self._public_tasks.findings(delta, peers)

    @cached_property
    def _public_tasks(self) -> "Canary":
        from genepool_server.admission.canary import Canary

        return Canary(self._blueprint, self._seed)  # which measures the seed once: a quarter of a review

    def _profile(self, member: ActiveMember) -> Profile:
        if member.sha256 not in self._profiles:
            self._profiles[member.sha256] = profile.profile(self._blueprint, self._flat(member.path), self._salt)
        return self._profiles[member.sha256]

    def _forget(self, members: Sequence[ActiveMember]) -> None:
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


def judges_of(members: Sequence[ActiveMember]) -> list[ActiveMember]:
    """The first `COMPARED` members of other sites, one of each."""
    first: dict[str, ActiveMember] = {}
    for member in members:
        if not member.own:
            first.setdefault(member.site, member)
    return list(first.values())[:COMPARED]


def judged(looked: Looked, withdrawn: Sequence[WithdrawnSketch]) -> list[Finding]:
    """All findings of a look, with those of copies of what is active and of what was withdrawn."""
    near = [*looked.near, *copies.near_withdrawn(looked.sketch, withdrawn)]
    return [*copies.findings(near), *looked.findings]
