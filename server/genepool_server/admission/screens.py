"""Screens: what can be told from a learngene's numbers, the seed's and those of the pool's active members.

Pure functions without a framework of tensors. A finding rejects where no honest learngene came near the limit, and
holds for the operator where an honest site of another kind might. Limits are measured on `nano-32` with learngenes of
nineteen domains and several lengths of training; each constant says what honest ones reach.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from genepool_protocol.learngene import algebra
from genepool_protocol.learngene.algebra import Flat, Gene, Stored
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_server.admission import profile
from genepool_server.admission.profile import Profile

Screen = Literal[
    "BLOCK_NORM",
    "NORM_RATIO",
    "SYMMETRY",
    "NEAR_COPY",
    "RETURNED",
    "FOREIGN_COPY",
    "OPPOSED",
    "OPPOSED_DOUBT",
    "DIRECTION",
    "CANARY",
    "CANARY_DOUBT",
    "EMBEDDING_COPY",
    "INCOMPLETE",
]

REJECTS: Final[dict[Screen, bool]] = {
    "BLOCK_NORM": True,
    "NORM_RATIO": False,
    "SYMMETRY": True,
    "NEAR_COPY": True,
    "RETURNED": False,
    "FOREIGN_COPY": False,
    "OPPOSED": True,
    "OPPOSED_DOUBT": False,
    "DIRECTION": False,
    "CANARY": True,
    "CANARY_DOUBT": False,
    "EMBEDDING_COPY": False,
    "INCOMPLETE": False,
}
"""Whether what a screen finds rejects a contribution, or holds it for the operator. SPEC.md prints this table."""

NOTED: Final[frozenset[Screen]] = frozenset({"FOREIGN_COPY"})
"""What is found of another contribution: it neither rejects nor holds the one under review."""

BLOCK_NORM: Final = 1.0
"""Norm of a block over the seed's; honest ones have 0.19 after 280 steps, 0.26 after 560, and grow like the root."""

NORM_RATIO: Final = (0.02, 5.0)
"""Norm of a block over the members' median; honest sites of 16 steps reach 0.1, of 500 steps 4 times one of 60."""

DEVIATIONS: Final = 6.0
"""The same is allowed where members themselves vary so much: so many times their median deviation."""

MOVED: Final = 0.02
"""Share of hidden units that look more like another unit of the seed than like their own; none of honest ones' does."""

UNBALANCED: Final = 0.25
"""By how much query and key of a head, or value and projection, drift apart in length; natural logarithm.
Honest ones reach 0.022."""

NEAR: Final = 0.8
"""Cosine with another member; sites that share one data set out at random reach 0.48, other domains 0.13."""

NEAR_PRODUCTS: Final = 0.6
"""Cosine of `profile.products` with another member's; the same sites reach 0.22."""

ALONG: Final = 0.01
"""Cosine with the mean direction of the members; honest ones reach 0.030 with a single member, 0.07 with four."""

BLOCK_ALONG: Final = {"attn": 0.01, "mlp": 0.02}
"""The same of single blocks; honest ones reach 0.025 and 0.055 with four members."""

FEW: Final = 4
"""Members of other sites from which on norms and single blocks are compared with theirs."""

AGREE: Final = 3
"""Owners that must find a learngene opposed to theirs before it is rejected for it, and half of those asked."""

SLACK: Final = 0.15
"""By how much sketches may understate a cosine: five of their standard deviations."""

_TINY: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a contribution is not simply fine.

    Attributes:
        screen: a key of `REJECTS`.
        message: a sentence for the site and the operator.
        about: id of the other contribution that it is about, when the operator shall be told of that one.
    """

    screen: Screen
    message: str
    about: str = ""

    @property
    def rejects(self) -> bool:
        """Whether it ends the matter."""
        return REJECTS[self.screen]

    @property
    def noted(self) -> bool:
        """Whether it decides nothing about the contribution under review."""
        return self.screen in NOTED

    def __str__(self) -> str:
        return f"{self.screen}: {self.message}"


@dataclass(frozen=True)
class Subject:
    """A learngene to be screened.

    Attributes:
        blueprint: the family.
        seed: the seed's gene of as many components as a learngene has, flat.
        delta: the learngene without its domain embedding, flat.
    """

    blueprint: Blueprint
    seed: Flat
    delta: Flat

    @property
    def gene(self) -> Gene:
        """The tensors of the learngene."""
        return algebra.views(profile.layout_of(self.blueprint), self.delta)

    @property
    def origin(self) -> Gene:
        """The tensors of the seed."""
        return algebra.views(profile.layout_of(self.blueprint), self.seed)

    @property
    def blocks(self) -> dict[str, list[slice]]:
        """See `profile.blocks`."""
        return profile.blocks(profile.layout_of(self.blueprint))


def block_norms(subject: Subject) -> Iterable[Finding]:
    """Each block against the seed's: a combination must not be drowned by one member."""
    parts = subject.blocks
    seed = profile.norms(parts, subject.seed)
    ratios = profile.norms(parts, subject.delta) / np.maximum(
        seed, np.linalg.norm(seed) / 100
    )  # a block may be all zero
    worst = int(ratios.argmax())
    if ratios[worst] > BLOCK_NORM:
        where = list(parts)[worst]
        yield Finding(
            "BLOCK_NORM", f"block {where} has {ratios[worst]:.3g} times the seed's norm, at most {BLOCK_NORM:g} is fine"
        )


def norm_ratios(subject: Subject, peers: Sequence[Profile]) -> Iterable[Finding]:
    """Each block against the members' median, in the measure of their own spread; none below `FEW` members."""
    if len(peers) < FEW:
        return
    parts = subject.blocks
    logs = np.log(np.maximum(np.stack([peer.norms for peer in peers]), _TINY))
    median = np.median(logs, axis=0)
    spread = 1.4826 * np.median(np.abs(logs - median), axis=0)
    off = np.log(np.maximum(profile.norms(parts, subject.delta), _TINY)) - median
    low, high = np.log(NORM_RATIO)
    over = np.maximum(off - np.maximum(high, DEVIATIONS * spread), np.minimum(low, -DEVIATIONS * spread) - off)
    worst = int(over.argmax())
    if over[worst] > 0:
        least, most = NORM_RATIO
        yield Finding(
            "NORM_RATIO",
            f"block {list(parts)[worst]} has {np.exp(off[worst]):.3g} times the median norm of "
            f"{len(peers)} members, {least:g} to {most:g} times is usual",
        )


def symmetries(subject: Subject) -> Iterable[Finding]:
    """Heads and hidden units that left their places, and lengths that were moved from one matrix to its partner.

    Such a learngene alone computes what it did before, and any sum with it is spoiled: the seed gives every unit its
    place.
    """
    seed, gene = subject.origin, subject.gene
    for component in range(subject.blueprint.components):
        prefix = f"a{component}."
        name = prefix + "mlp.fc1.weight"
        moved = _moved(seed[name], seed[name] + gene[name])
        if moved > MOVED:
            yield Finding("SYMMETRY", f"{moved:.0%} of the hidden units of {prefix}mlp are not in their places")
        old, new = (_heads(subject.blueprint, weights, prefix) for weights in (seed, _sum(seed, gene, prefix)))
        if _moved(old.reshape(len(old), -1), new.reshape(len(new), -1)) > 0:
            yield Finding("SYMMETRY", f"heads of {prefix}attn are not in their places")
        grown = np.log(np.maximum(np.linalg.norm(new, axis=2), _TINY) / np.maximum(np.linalg.norm(old, axis=2), _TINY))
        apart = max(np.abs(grown[:, 0] - grown[:, 1]).max(), np.abs(grown[:, 2] - grown[:, 3]).max())
        if apart > UNBALANCED:
            yield Finding(
                "SYMMETRY", f"{prefix}attn has a head whose halves drifted apart by a factor of {np.exp(apart):.3g}"
            )


def _sum(seed: Gene, gene: Gene, prefix: str) -> Gene:
    names = (prefix + "attn.qkv.weight", prefix + "attn.proj.weight")
    return {name: seed[name] + gene[name] for name in names}


def _heads(blueprint: Blueprint, gene: Gene, prefix: str) -> Flat:
    """Query, key, value and projection of each head, shape (heads, 4, head_dim * width)."""
    qkv, proj = gene[prefix + "attn.qkv.weight"], gene[prefix + "attn.proj.weight"]
    heads, width = blueprint.heads, blueprint.head_dim * qkv.shape[1]
    own = qkv.reshape(3, heads, width).transpose(1, 0, 2)
    out = proj.T.reshape(heads, 1, width)
    return np.concatenate([own, out], axis=1)


def _moved(old: Flat, new: Flat) -> float:
    """Share of rows of `new` whose nearest row of `old`, by cosine, is not the one in the same place."""
    norms = np.maximum(np.linalg.norm(old, axis=1), _TINY)
    return float(np.mean((new @ (old / norms[:, None]).T).argmax(axis=1) != np.arange(len(old))))


def candidates(mine: Profile, members: Sequence[Profile]) -> list[int]:
    """Places of members that may be near copies, by their sketches alone."""
    if not members:
        return []
    near = _cosines(mine.direction, np.stack([member.direction for member in members])) > NEAR - SLACK
    near |= _cosines(mine.products, np.stack([member.products for member in members])) > NEAR_PRODUCTS - SLACK
    return [int(place) for place in np.flatnonzero(near)]


def _cosines(one: npt.NDArray[np.float64], many: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    scale = np.linalg.norm(many, axis=1) * np.linalg.norm(one)
    return np.asarray((many @ one) / np.maximum(scale, _TINY), dtype=np.float64)


def near(subject: Subject, members: Iterable[tuple[int, Flat]]) -> list[tuple[int, float, float]]:
    """Members that a learngene is nearly equal to, also where heads, units or lengths were exchanged.

    Args:
        subject: the learngene.
        members: place and learngene of each of the `candidates`.

    Returns:
        (place, cosine, cosine of their products) of each.
    """
    own = profile.products(subject.blueprint, subject.gene)
    close = []
    for place, flat in members:
        other = profile.products(subject.blueprint, algebra.views(profile.layout_of(subject.blueprint), flat))
        plain, disguised = profile.cosine(subject.delta, flat), profile.cosine(own, other)
        if plain > NEAR or disguised > NEAR_PRODUCTS:
            close.append((place, plain, disguised))
    return close


def directions(subject: Subject, peers: Sequence[Stored]) -> Iterable[Finding]:
    """Against the mean direction of members of other sites: what was trained from one seed has something in common.

    Args:
        subject: the learngene.
        peers: one of each other site, so that no owner has more than one voice.
    """
    if not peers:
        return
    mean = np.zeros_like(subject.delta)
    algebra.accumulate(mean, [(1.0 / max(_norm(peer), _TINY), peer) for peer in peers])
    whole = profile.cosine(subject.delta, mean)
    if whole < -ALONG:
        against = sum(profile.cosine(subject.delta, peer.astype(np.float32)) < -ALONG for peer in peers)
        agreed = against >= AGREE and 2 * against >= len(peers)
        yield Finding(
            "OPPOSED" if agreed else "OPPOSED_DOUBT",
            f"it points away from the other {len(peers)} members: cosine {whole:.4f}, {against} of them say so alone",
        )
    elif whole < ALONG:
        yield Finding(
            "DIRECTION",
            f"it has nothing in common with the other {len(peers)} members: cosine {whole:.4f}, "
            f"at least {ALONG:g} is usual",
        )
    elif len(peers) >= FEW:
        yield from _block_directions(subject, mean)


def _block_directions(subject: Subject, mean: Flat) -> Iterable[Finding]:
    for block, where in subject.blocks.items():
        least = BLOCK_ALONG.get(block.rpartition(".")[2])
        if least is not None:
            alignment = profile.cosine(_part(subject.delta, where), _part(mean, where))
            if alignment < least:
                yield Finding(
                    "DIRECTION",
                    f"block {block} has nothing in common with the other members': cosine {alignment:.4f}, "
                    f"at least {least:g} is usual",
                )


def _part(flat: Flat, where: Sequence[slice]) -> Flat:
    return np.concatenate([flat[piece] for piece in where])


def _norm(stored: Stored) -> float:
    return float(np.linalg.norm(stored.astype(np.float32)))
