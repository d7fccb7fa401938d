"""One table as a value, and how its cells are written."""

from collections.abc import Sequence
from dataclasses import dataclass

from genepool_lab.benchmark.rows import Row
from genepool_lab.benchmark.statistics import Gain, mean, where


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        name: a word, the same in every run.
        title: what it shows.
        head: of the columns.
        lines: of cells.
        note: what a reader must know.
    """

    name: str
    title: str
    head: list[str]
    lines: list[list[str]]
    note: str = ""

    def markdown(self) -> str:
        """For people."""
        marks = ["---", *["---:"] * (len(self.head) - 1)]
        lines = [self.head, marks, *self.lines]
        body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return f"## {self.title}\n\n{body}\n" + (f"\n{self.note}\n" if self.note else "")


def of_kind(rows: Sequence[Row], group: str) -> list[Row]:
    """Rows of one kind of task, or `all`."""
    return list(rows) if group == "all" else where(rows, kind=group)


def accuracy(rows: Sequence[Row]) -> str:
    """Mean accuracy as `.712`; empty without rows."""
    value = mean(rows)
    return "" if value is None else f"{value:.3f}".lstrip("0")


def text(value: Gain | None) -> str:
    """A gain with its interval; empty where there is none."""
    return "" if value is None else str(value)


def images(shots: int) -> str:
    """`5 images a class`."""
    return f"{shots} image{'s' * (shots > 1)} a class"
