"""From rows to the numbers that a report states: means over draws, gains with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genepool_client.simulate.experiment import CONTROLS, DESCENDANT, SCRATCH, SEED, STARTS, StartAccuracy
from genepool_protocol.learngene.size import Size


@dataclass(frozen=True, slots=True)
class TableCell:
    """Mean accuracy over the draws, before and after fine-tuning."""

    before: float
    after: float | None


@dataclass(frozen=True, slots=True)
class GainOverControl:
    """A paired difference in points of accuracy over all tasks and draws, with a 95 % bootstrap interval.

    A single task and draw has no interval: nothing is known of how it varies.
    """

    name: str
    size: Size
    phase: str  # "before" or "after" fine-tuning
    mean: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.mean:+.1f} (one task and draw: no interval)"
        return f"{self.mean:+.1f} ({self.low:+.1f} to {self.high:+.1f})"


def table(rows: Sequence[StartAccuracy]) -> dict[str, dict[Size, dict[str, TableCell]]]:
    """Task -> size -> starting point -> cell."""
    out: dict[str, dict[Size, dict[str, TableCell]]] = {}
    for task in dict.fromkeys(row.task for row in rows):
        for size in sorted({row.size for row in rows}):
            cells = out.setdefault(task, {}).setdefault(size, {})
            for start in (*STARTS, *CONTROLS):
                matching = [r for r in rows if (r.task, r.size, r.start) == (task, size, start)]
                if matching:
                    after = [r.after for r in matching if r.after is not None]
                    cells[start] = TableCell(_mean([r.before for r in matching]), _mean(after) if after else None)
    return out


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def gains(rows: Sequence[StartAccuracy], rng: int = 0) -> list[GainOverControl]:
    """How much the descendant gains over each alternative, per size."""
    out = []
    for size in sorted({row.size for row in rows}):
        for other in (SEED, SCRATCH, *CONTROLS):
            for phase in ("before", "after"):
                pairs = _pairs(rows, size, other, phase)
                if len(pairs):
                    out.append(_gain(f"descendant - {other}", size, phase, 100 * pairs, np.random.default_rng(rng)))
    return out


def _pairs(rows: Sequence[StartAccuracy], size: Size, other: str, phase: str) -> np.ndarray:
    def of(start: str) -> dict[tuple[str, int], float]:
        values = {(r.task, r.draw): getattr(r, phase) for r in rows if r.size == size and r.start == start}
        return {key: value for key, value in values.items() if value is not None}

    ours, theirs = of(DESCENDANT), of(other)
    return np.array([ours[key] - theirs[key] for key in sorted(ours.keys() & theirs.keys())])


def _gain(name: str, size: Size, phase: str, pairs: np.ndarray, rng: np.random.Generator) -> GainOverControl:
    if len(pairs) == 1:
        return GainOverControl(name, size, phase, float(pairs[0]), None, None)
    means = rng.choice(pairs, (2000, len(pairs))).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return GainOverControl(name, size, phase, float(pairs.mean()), float(low), float(high))
