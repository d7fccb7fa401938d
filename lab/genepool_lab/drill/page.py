"""The table of docs/results/drill.md, from the drill's JSON."""

from collections.abc import Sequence
from typing import Any, Final

from genepool_console import terminal
from genepool_lab.drill.cast import OTHERS, SITES

COLUMNS: Final = (
    "system",
    "settings",
    "end",
    "steps of others lost",
    "sites in the result",
    "seconds to seven sites",
    "seconds in all",
    "gain over the seed, points",
)


def rows(runs: Sequence[dict[str, Any]]) -> terminal.Rows:
    """For a terminal."""
    return terminal.Rows(COLUMNS, [_cells(run) for run in runs], f"Eight sites, four with faults, {len(OTHERS)} others")


def table(runs: Sequence[dict[str, Any]]) -> str:
    """In Markdown."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *(_cells(run) for run in runs)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cells(run: dict[str, Any]) -> list[str]:
    accuracy, seven = run["accuracy"], run["seven"]
    return [
        run["system"],
        run["settings"],
        run["outcome"],
        f"{run['steps_lost']} of {run['steps_done']}",
        f"{len(run['sites'])} of {SITES}",
        "never" if seven is None else f"{seven:.0f}",
        f"{run['seconds']:.0f}",
        f"{accuracy['gain']:+.1f} ({accuracy['low']:+.1f} to {accuracy['high']:+.1f})",
    ]
