"""Paired timing: the thing and its floor in turns, best of several, so that a busy machine hurts both alike."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: is measured.
        value: the figure, a ratio unless `unit` says otherwise.
        target: of the design, in the same unit; None where the design states none.
        higher: whether more is better.
        detail: the absolute figures behind it.
    """

    what: str
    value: float
    target: float | None
    detail: str
    unit: str = "x"
    higher: bool = False

    @property
    def verdict(self) -> str:
        """Whether the target is met."""
        if self.target is None:
            return "-"
        return "ok" if (self.value >= self.target if self.higher else self.value <= self.target) else "short"

    def as_json(self) -> dict:
        """For bench.json."""
        return {**asdict(self), "verdict": self.verdict}


def paired(
    repeats: int, *functions: Callable[[], object], clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """The best seconds of each function, run in turns.

    `clock=time.thread_time` counts the CPU seconds of the calling thread: for arithmetic on one thread it is the figure
    of a quiet machine, whoever else is at work.
    """
    best = [float("inf")] * len(functions)
    for _ in range(repeats):
        for index, function in enumerate(functions):
            started = clock()
            function()
            best[index] = min(best[index], clock() - started)
    return best
