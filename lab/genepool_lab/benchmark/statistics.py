"""Means and paired intervals over tasks and draws."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from genepool_lab.benchmark.rows import Row

_SAMPLES: Final = 2000
Place = tuple[str, int, int]
"""Task, draw, shots."""


@dataclass(frozen=True, slots=True)
class Gain:
    """A paired difference in points of accuracy, with a 95 % interval; a single episode has none."""

    mean: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.mean:+.1f} (one episode: no interval)"
        return f"{self.mean:+.1f} ({self.low:+.1f} to {self.high:+.1f})"


def where(rows: Iterable[Row], **wanted: object) -> list[Row]:
    """The rows that have all these values."""
    return [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]


def mean(rows: Sequence[Row]) -> float | None:
    """Mean accuracy, every task weighing the same; None without rows."""
    by_task = _by_task((row.task, row.accuracy) for row in rows)
    return float(np.mean([np.mean(values) for values in by_task.values()])) if by_task else None


def gain(ours: Sequence[Row], theirs: Sequence[Row]) -> Gain | None:
    """How much better ours are on the same episodes; None when no episode is in both.

    Tasks are drawn with replacement, then draws within each (every task weighing the same), 2,000 times.
    """
    pairs = differences(ours, theirs)
    if not pairs:
        return None
    if len(pairs) == 1:
        return Gain(next(iter(pairs.values())), None, None)
    by_task = _by_task((place[0], value) for place, value in pairs.items())
    tasks = [np.array(values) for values in by_task.values()]
    means = _resampled(tasks, np.random.default_rng(0))
    low, high = np.percentile(means, [2.5, 97.5])
    return Gain(float(np.mean([values.mean() for values in tasks])), float(low), float(high))


def _resampled(tasks: Sequence[npt.NDArray[np.float64]], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Means of samples of tasks, of samples of draws within each; shape (samples,)."""
    counts = np.array([len(values) for values in tasks])
    table = np.stack([np.pad(values, (0, counts.max() - len(values))) for values in tasks])
    picked = rng.integers(len(tasks), size=(_SAMPLES, len(tasks)))
    draws = (rng.random((*picked.shape, counts.max())) * counts[picked][..., None]).astype(int)
    used = np.arange(counts.max()) < counts[picked][..., None]
    values = np.where(used, table[picked[..., None], draws], 0.0)
    return np.asarray((values.sum(axis=2) / counts[picked]).mean(axis=1))


def differences(ours: Sequence[Row], theirs: Sequence[Row]) -> dict[Place, float]:
    """Points of accuracy by episode, ours less theirs."""
    other = {_place(row): row.accuracy for row in theirs}
    return {_place(row): 100 * (row.accuracy - other[_place(row)]) for row in ours if _place(row) in other}


def worst(pairs: dict[Place, float]) -> tuple[str, float]:
    """The task with the lowest mean difference."""
    by_task = _by_task((place[0], value) for place, value in pairs.items())
    return min(((task, float(np.mean(values))) for task, values in by_task.items()), key=lambda pair: pair[1])


def _by_task(pairs: Iterable[tuple[str, float]]) -> dict[str, list[float]]:
    values: defaultdict[str, list[float]] = defaultdict(list)
    for task, value in pairs:
        values[task].append(value)
    return values


def _place(row: Row) -> Place:
    return row.task, row.draw, row.shots


def grouped(rows: Iterable[Row], key: Callable[[Row], object]) -> dict[object, list[Row]]:
    """Rows by a key, in order of appearance."""
    groups: defaultdict[object, list[Row]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups
