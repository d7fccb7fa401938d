"""Few-shot tasks out of classes that no site saw, and their episodes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from genepool_client.pictures.images import ImageSet
from genepool_lab.benchmark.domains import Domain
from genepool_lab.benchmark.plan import BenchmarkPlan

Kind = Literal["covered", "mixture", "related", "unrelated"]
KINDS: Final[tuple[Kind, ...]] = ("covered", "mixture", "related", "unrelated")
_SPARE: Final = 8  # images of a class that are kept for testing, when a support set would take them all


@dataclass(frozen=True, slots=True)
class Task:
    """A kind of few-shot task, out of the unseen classes of one or two domains."""

    name: str
    kind: Kind
    domains: tuple[str, ...]
    relative: str = ""

    @property
    def right(self) -> tuple[str, ...]:
        """The sites that know the task's domain."""
        return self.domains if self.kind in {"covered", "mixture"} else ()


@dataclass(frozen=True, slots=True)
class EpisodePlaces:
    """One support set and its test images, as (domain, index) pairs into the unseen images.

    Attributes:
        task: its name.
        draw: which one.
        shots: labelled images a class.
        support: places of the support images.
        support_labels: their classes, 0..ways-1.
        test: places of the test images; the same for every number of shots.
        test_labels: their classes.
    """

    task: str
    draw: int
    shots: int
    support: tuple[tuple[str, int], ...] = field(repr=False)
    support_labels: tuple[int, ...] = field(repr=False)
    test: tuple[tuple[str, int], ...] = field(repr=False)
    test_labels: tuple[int, ...] = field(repr=False)


def tasks(domains: Sequence[Domain], plan: BenchmarkPlan) -> list[Task]:
    """Unseen classes of every covered domain, mixtures of neighbours among them, and the uncovered domains."""
    sites = [domain.name for domain in domains if domain.role == "site" and domain.unseen is not None]
    listing = [Task(name, "covered", (name,)) for name in sites]
    step = max(1, len(sites) // max(1, plan.mixtures))
    pairs = [(sites[i], sites[(i + 1) % len(sites)]) for i in range(0, len(sites), step)][: plan.mixtures]
    listing += [Task(f"{a} + {b}", "mixture", (a, b)) for a, b in pairs]
    for domain in domains:
        if domain.role == "uncovered":
            kind: Kind = "related" if domain.relative else "unrelated"
            listing.append(Task(domain.name, kind, (domain.name,), domain.relative))
    return listing


def episodes(task: Task, domains: Sequence[Domain], plan: BenchmarkPlan) -> list[EpisodePlaces]:
    """Every draw and number of shots of a task; the same plan gives the same episodes."""
    banks = {domain.name: domain.unseen for domain in domains if domain.unseen is not None}
    drawn = []
    for draw in range(plan.draws):
        rng = np.random.default_rng([draw, *task.name.encode()])
        orders = [
            (name, rng.permutation(np.flatnonzero(banks[name].labels == c)))
            for name, c in _classes(task, banks, plan.ways, rng)
        ]
        drawn += [_episode(task.name, draw, shots, orders, plan) for shots in plan.shots]
    return drawn


def _classes(task: Task, banks: dict[str, ImageSet], ways: int, rng: np.random.Generator) -> list[tuple[str, int]]:
    shares = [ways - ways // 2, ways // 2] if len(task.domains) == 2 else [ways]
    chosen = []
    for name, share in zip(task.domains, shares, strict=True):
        order = rng.permutation(len(banks[name].classes))[:share]
        chosen += [(name, int(c)) for c in order]
    return chosen


def _episode(
    task: str, draw: int, shots: int, orders: list[tuple[str, npt.NDArray[np.int64]]], plan: BenchmarkPlan
) -> EpisodePlaces:
    support, labels, test, test_labels = [], [], [], []
    for label, (name, order) in enumerate(orders):
        most = max(1, min(plan.shots[-1], len(order) - _SPARE))
        support += [(name, int(i)) for i in order[: min(shots, most)]]
        labels += [label] * min(shots, most)
        rest = order[most : most + plan.test]
        test += [(name, int(i)) for i in rest]
        test_labels += [label] * len(rest)
    return EpisodePlaces(task, draw, shots, tuple(support), tuple(labels), tuple(test), tuple(test_labels))
