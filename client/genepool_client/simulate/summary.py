"""What a simulation prints at its end: the table of the report, for a terminal."""

from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from genepool_client.simulate import results
from genepool_client.simulate.experiment import CONTROLS, STARTS
from genepool_client.simulate.report import Report, cell_text

_WIDTH: Final = 140
"""Columns of a file or pipe."""


def show(report: Report, folder: Path) -> None:
    """Print which learngenes were chosen, the accuracies, the gains, and how verification went."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH
    chosen = Table(
        "task", "draw", "choice", "weights", box=None, pad_edge=False, title="What TALS chose", title_justify="left"
    )
    for selection in report.selections:
        weights = ", ".join(f"{item.site} {item.weight:.3f}" for item in selection.weights) or "the seed alone"
        chosen.add_row(selection.task, str(selection.draw), selection.choice, weights)
    console.print(chosen)
    console.print(f"private and remote selection gave the same weights: {'yes' if report.modes_agree else 'NO'}\n")
    console.print(_accuracies(report))
    console.print(_gains(report))
    proof = report.verification
    console.print(proof.sentence, markup=False)
    refused = f"refused ({proof.tampering_reason})" if proof.tampering_refused else "ACCEPTED"
    console.print(f"one flipped byte in {proof.tampered_file}: {refused}")
    console.print(f"{sum(report.seconds.values()):.0f} seconds; the report is {folder / 'report.html'}")


def _accuracies(report: Report) -> Table:
    title = f"Accuracy with {report.shots} images a class, before → after {report.finetune_steps} steps of fine-tuning"
    shown = Table("task", "size", *STARTS, *CONTROLS, box=None, pad_edge=False, title=title, title_justify="left")
    for task, sizes in results.table(report.rows).items():
        for size, cells in sizes.items():
            shown.add_row(task, str(size), *(cell_text(cells[start]) for start in (*STARTS, *CONTROLS)))
    return shown


def _gains(report: Report) -> Table:
    title = "\nGain of the descendant in points of accuracy, with 95 % intervals over tasks and draws"
    shown = Table("against", "size", "fine-tuning", "gain", box=None, pad_edge=False, title=title, title_justify="left")
    for gain in results.gains(report.rows):
        shown.add_row(gain.name, str(gain.size), gain.phase, f"{gain.mean:+.1f} ({gain.low:+.1f} to {gain.high:+.1f})")
    return shown
