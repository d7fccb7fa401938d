"""TALS, the Task-Adaptive Learngene Selector: support set + pool -> sparse weights, with reasons.

Stages: A retrieves by embedding, B scores the nearest, C searches for combinations, D guards. The same function runs on
the pool's actors and at home; only the `Evaluator`, which turns mixtures into scores and slopes, is handed in.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from genepool_protocol.learngene import expansion
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.embedding import Embedding
from genepool_protocol.progress import Progress, silent
from genepool_protocol.selection import combination, guard
from genepool_protocol.selection.combination import Evaluator, Mixture, single
from genepool_protocol.selection.retrieval import Member, retrieve
from genepool_protocol.selection.score import Score
from genepool_protocol.selection.support import Labels, can_leave_out, looked_at
from genepool_protocol.trust import digest
from genepool_protocol.wire.errors import Refused
from genepool_protocol.wire.limits import LIMITS

if TYPE_CHECKING:
    from genepool_protocol.selection import net

KERNEL = "torch-fp32-v4"
"""Names the arithmetic of scoring and the rules of choosing, part of every answer: another may answer otherwise."""


_SEARCHED_FROM: Final = 16
"""Images a class from which leave-one-out errors may choose among learngenes."""


@dataclass(frozen=True, slots=True)
class TalsCandidate:
    """What TALS found out about one contribution; the score is None where stage B did not look."""

    contribution_id: str
    embedding_distance: float
    place: int  # by domain embedding, 1 is the nearest
    score: Score | None = None


@dataclass(frozen=True, slots=True)
class TalsSelection:
    """The answer of TALS.

    Attributes:
        choice: "seed", "single" or "combination".
        weights: the mixture to descend from; empty for the seed.
        candidates: all members that stage A kept, one a site, nearest domain embedding first.
        reason: one sentence for a person.
        kernel: which arithmetic scored.
        snapshot: hex SHA-256 over the sorted ids that were considered.
    """

    choice: str
    weights: Mixture
    candidates: tuple[TalsCandidate, ...]
    reason: str
    kernel: str
    snapshot: str


def snapshot(ids: Iterable[str]) -> str:
    """Hex SHA-256 over the sorted contribution ids, a line each: which pool was looked at."""
    return digest.sha256_hex("".join(f"{name}\n" for name in sorted(ids)).encode())


def select(
    task: Embedding,
    members: Sequence[Member],
    evaluator: Evaluator,
    *,
    labels: Labels | None,
    progress: Progress = silent,
) -> TalsSelection:
    """Choose a sparse combination of learngenes for a task.

    Args:
        task: the task embedding.
        members: the pool's active contributions.
        evaluator: scores mixtures on the support set, or on views of it where no image can be left out; not asked
            without labels.
        labels: of the support set, see `check_support`.
        progress: called with (done, total, stage).

    Raises:
        Refused: POOL_EMPTY.
    """
    if not members:
        raise Refused(
            "POOL_EMPTY", "the pool holds no active learngene to select from", "ask for the seed, or come back later"
        )
    labels = None if labels is None else labels[looked_at(labels)]
    nearest = retrieve(task, members, LIMITS.short_list)
    progress(len(nearest), len(members), "retrieve")
    shot = snapshot(member.contribution_id for member in members)
    candidates = [TalsCandidate(name, distance, place) for place, (name, distance) in enumerate(nearest, start=1)]
    chosen = combination.by_nearness(nearest)
    if labels is None:
        why = "without labels nothing is scored"
    elif not can_leave_out(labels):
        chosen, why = _unbroken(chosen, evaluator)
    else:
        many = len(labels) >= _SEARCHED_FROM * len(np.unique(labels))
        chosen, why, candidates = _searched(chosen, candidates, evaluator, progress, many=many)
    trusted = combination.trust(nearest[0][1])
    where = f"the nearest domain embedding is at {nearest[0][1]:.2f}, " + (
        f"which is worth a weight of {trusted / 1000:.2f}" if trusted else "which is too far"
    )
    kind = ("seed", "single", "combination")[min(len(chosen), 2)]
    return TalsSelection(kind, chosen, tuple(candidates), f"{where}; {why}", KERNEL, shot)


def _unbroken(chosen: Mixture, evaluator: Evaluator) -> tuple[Mixture, str]:
    """What the embeddings say, unless it tells views of the images apart much worse than the seed; and what decided."""
    why = "at 1-shot no image can be held out to show whether that helps: two images a class are safer"
    if not chosen:
        return chosen, why
    held, seed = evaluator.scores([chosen, ()])
    growth = -guard.gain(held, seed)[0]
    if round(growth - guard.BROKEN, 6) > 0:
        return (), f"{why}, and on views of them what the domain embeddings say raises the error by {growth:.3f}"
    return chosen, why


def _searched(
    holder: Mixture, candidates: Sequence[TalsCandidate], evaluator: Evaluator, progress: Progress, *, many: bool
) -> tuple[Mixture, str, list[TalsCandidate]]:
    """Stages B to D: the mixture, what decided, and the candidates with the scores of the nearest.

    With few images only the seed may challenge: the best of many by twenty-five leave-one-out errors is the luckiest.
    """
    nearest = [candidate.contribution_id for candidate in candidates[: LIMITS.scored]]
    asked = list(dict.fromkeys([holder, (), *map(single, nearest)]))
    scores: dict[Mixture, Score] = {}
    for mixture, score in zip(asked, evaluator.scores(asked), strict=True):
        scores[mixture] = score
        progress(len(scores), len(asked), "score")
    challengers: list[Mixture] = [()]
    if many:
        best = min(map(single, nearest), key=lambda item: round(float(np.mean(scores[item].errors)), 6))
        progress(0, 1, "search")
        ids = [candidate.contribution_id for candidate in candidates]
        path = combination.walk(evaluator, ids, holder, scores[holder])
        scores.update(path)
        challengers += [best, *(mixture for mixture, _ in path[-1:])]
    challengers = [mixture for mixture in dict.fromkeys(challengers) if mixture != holder]
    margins = [guard.CLEARLY if mixture else guard.SIMPLER for mixture in challengers]
    index, why = guard.choose(scores[holder], list(zip((scores[item] for item in challengers), margins, strict=True)))
    progress(len(challengers), len(challengers), "guard")
    shown = [replace(item, score=scores.get(single(item.contribution_id))) for item in candidates]
    return [holder, *challengers][index], why, shown


def thin(blueprint: Blueprint, gene: "net.Weights") -> dict[str, np.ndarray]:
    """The thin slice of a learngene: the first heads of the scoring size, every component, by name."""
    layout = expansion.gene_layout(blueprint, blueprint.components, blueprint.score.heads)
    groups = {name: 3 if ".qkv." in name else 1 for name in layout}
    return {
        name: np.ascontiguousarray(
            expansion.Cut(groups[name], (shape[0] // groups[name], *shape[1:]))(gene[name]), dtype=np.float32
        )
        for name, shape in layout.items()
    }
