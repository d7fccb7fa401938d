"""TALS, the Task-Adaptive Learngene Selector: support set + pool -> sparse weights, with reasons.

Stages: A retrieves by key, B scores and ranks, C proposes combinations, D guards. The same function runs on the pool's
actors and at home; only `Evaluate`, which turns mixtures into scores, is handed in.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from genepool_protocol.learngene import expansion
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.selection import guard, net, scoring
from genepool_protocol.selection.combination import Mixture, Proposer, averages, single
from genepool_protocol.selection.pixels import Pixels, check_pixels
from genepool_protocol.selection.retrieval import FAR, Member, retrieve
from genepool_protocol.selection.scoring import Labels, Score
from genepool_protocol.selection.task_key import Key
from genepool_protocol.trust import digest
from genepool_protocol.wire.errors import InvalidInput, Refused
from genepool_protocol.wire.limits import LIMITS

KERNEL = "torch-fp32-v1"
"""Names the arithmetic of scoring; part of every answer, because another kernel may order near ties differently."""

Evaluate = Callable[[Sequence[Mixture]], Iterable[Score]]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """What TALS found out about one contribution; scores are None where stage B did not look."""

    contribution_id: str
    key_distance: float
    score: Score | None = None
    rank: float = 0.0


@dataclass(frozen=True, slots=True)
class Selection:
    """The answer of TALS.

    Attributes:
        choice: "seed", "single" or "combination".
        weights: the mixture to descend from; empty for the seed.
        candidates: all members that stage A kept, best rank first.
        reason: one sentence for a person.
        kernel: which arithmetic scored.
        snapshot: hex SHA-256 over the sorted ids that were considered.
    """

    choice: str
    weights: Mixture
    candidates: tuple[Candidate, ...]
    reason: str
    kernel: str
    snapshot: str


def snapshot(ids: Iterable[str]) -> str:
    """Hex SHA-256 over the sorted contribution ids, a line each: which pool was looked at."""
    return digest.sha256_hex("".join(f"{name}\n" for name in sorted(ids)).encode())


def check_support(blueprint: Blueprint, pixels: Pixels, labels: Sequence[int]) -> Labels | None:
    """The labels as an array, or None for an unlabelled support set.

    Raises:
        InvalidInput: SUPPORT_MALFORMED, SUPPORT_TOO_LARGE, SUPPORT_TOO_SMALL or ONE_CLASS_ONLY.
    """
    check_pixels(blueprint, pixels)
    if len(pixels) > LIMITS.support_images:
        raise InvalidInput("SUPPORT_TOO_LARGE", f"a support set has at most {LIMITS.support_images} images")
    if not len(labels):
        return None
    array = np.asarray(labels, dtype=np.int64)
    classes = np.unique(array)
    if len(array) != len(pixels) or array.min() < 0 or array.max() >= LIMITS.support_classes:
        raise InvalidInput("SUPPORT_MALFORMED", "there must be one label per image, from 0 on")
    if len(array) < 2:
        raise InvalidInput("SUPPORT_TOO_SMALL", "a labelled support set needs two images or more, of different classes")
    if len(classes) < 2 or len(classes) != array.max() + 1:
        raise InvalidInput("ONE_CLASS_ONLY", "a labelled support set needs at least two classes, numbered without gaps")
    return array


def select(
    task: Key,
    members: Sequence[Member],
    evaluate: Evaluate,
    *,
    labelled: bool,
    propose: Proposer = averages,
    progress: Progress = lambda _stage, _done, _total: None,
) -> Selection:
    """Choose a sparse combination of learngenes for a task.

    Args:
        task: the support set's key.
        members: the pool's active contributions.
        evaluate: scores mixtures on the support set, in order; only called for labelled sets.
        labelled: whether the support set has labels.
        propose: stage C.
        progress: called with (stage, done, total).

    Raises:
        Refused: POOL_EMPTY.
    """
    if not members:
        raise Refused(
            "POOL_EMPTY", "the pool holds no active learngene to select from", "ask for the seed, or come back later"
        )
    kept = retrieve(task, members, LIMITS.short_list)
    progress("retrieve", len(kept), len(members))
    shot = snapshot(member.contribution_id for member in members)
    seed_score, candidates = None, [Candidate(name, distance, rank=i + 1.0) for i, (name, distance) in enumerate(kept)]
    if labelled:
        seed_score, candidates = _scored(kept, evaluate, progress)
    if seed_score is None or not seed_score.errors:
        choice, weights, why = _by_key(candidates[0], labelled=labelled)
    else:
        choice, weights, why = _guarded(seed_score, candidates, evaluate, propose, progress)
    return Selection(choice, weights, tuple(candidates), why, KERNEL, shot)


def _scored(kept: Sequence[tuple[str, float]], evaluate: Evaluate, progress: Progress) -> tuple[Score, list[Candidate]]:
    """Stage B: the seed's score, and the candidates, best first."""
    scores: list[Score] = []
    for result in evaluate([(), *(single(name) for name, _ in kept)]):
        scores.append(result)
        progress("score", len(scores) - 1, len(kept))
    distances = [distance for _, distance in kept]
    rank = scoring.rank(scores[1:], distances)
    found = [Candidate(name, d, s, r) for (name, d), s, r in zip(kept, scores[1:], rank, strict=True)]
    return scores[0], sorted(found, key=lambda c: (c.rank, round(c.key_distance, 6), c.contribution_id))


def _by_key(nearest: Candidate, *, labelled: bool) -> tuple[str, Mixture, str]:
    """The choice when nothing could be left out and scored."""
    why = (
        "with one image a class nothing can be left out and scored" if labelled else "without labels nothing is scored"
    )
    if nearest.key_distance > FAR:
        return "seed", (), f"{why}, and no key is near (the nearest at {nearest.key_distance:.2f})"
    return "single", single(nearest.contribution_id), f"its key is the nearest ({nearest.key_distance:.2f}); {why}"


def _guarded(
    seed_score: Score, candidates: Sequence[Candidate], evaluate: Evaluate, propose: Proposer, progress: Progress
) -> tuple[str, Mixture, str]:
    """Stages C and D."""
    best = candidates[0]
    assert best.score is not None  # noqa: S101 - every kept member was scored
    proposals = propose([candidate.contribution_id for candidate in candidates])
    combined = list(evaluate(proposals)) if proposals else []
    progress("guard", len(proposals), len(proposals))
    near = best.key_distance <= FAR
    index, why = guard.choose(seed_score, best.score, combined, near=near)
    return (
        ("seed", "single")[index] if index < 2 else "combination",
        [(), single(best.contribution_id), *proposals][index],
        why,
    )


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores mixtures of thin learngenes on one support set: the arithmetic of stages B to D.

    Attributes:
        blueprint: the family.
        seed: the seed gene, of full or of scoring width.
        pixels: the support set, uint8 of shape (N, image, image, 3).
        labels: shape (N,).
    """

    blueprint: Blueprint
    seed: net.Weights
    pixels: Pixels
    labels: Labels

    def __call__(self, deltas: Sequence[tuple[int, net.Weights]]) -> Score:
        """The score of seed + sum of (weight in thousandths, delta); deltas may be thin slices."""
        size, blueprint = self.blueprint.score.size(), self.blueprint
        weights = expansion.expand(expansion.plan(blueprint, size, blueprint.seed.components), self.seed)
        the_plan = expansion.plan(blueprint, size, blueprint.components)
        for milli, delta in deltas:
            for name, part in expansion.expand(the_plan, delta).items():
                weights[name] = weights[name] + (milli / 1000) * part
        return scoring.score(net.embed(blueprint, size, weights, self.pixels).numpy(), self.labels)


def thin(blueprint: Blueprint, gene: net.Weights) -> dict[str, np.ndarray]:
    """The thin slice of a learngene: the first heads of the scoring size, every component, by name."""
    layout = expansion.gene_layout(blueprint, blueprint.components, blueprint.score.heads)
    groups = {name: 3 if ".qkv." in name else 1 for name in layout}
    return {
        name: np.ascontiguousarray(
            expansion.Cut(groups[name], (shape[0] // groups[name], *shape[1:]))(gene[name]), dtype=np.float32
        )
        for name, shape in layout.items()
    }
