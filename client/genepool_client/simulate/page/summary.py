"""What a simulation prints at its end: the table of the report, for a terminal."""

from pathlib import Path

from genepool_client.simulate.experiment import CONTROLS, STARTS
from genepool_client.simulate.page import results
from genepool_client.simulate.page.report import SimulationReport, cell_text
from genepool_console import terminal


def show(report: SimulationReport, folder: Path) -> None:
    """Print which learngenes were chosen, the accuracies, the gains, and how verification went."""
    proof = report.verification
    refused = f"refused ({proof.tampering_reason})" if proof.tampering_refused else "ACCEPTED"
    agree = f"private and remote selection gave the same weights: {'yes' if report.modes_agree else 'NO'}"
    end = [
        f"{sum(report.cpu_seconds.values()):.0f} processor seconds, at most {report.peak_bytes / 1e9:.1f} GB of memory",
        proof.sentence,
        f"one flipped byte in {proof.tampered_file}: {refused}",
        f"{sum(report.seconds.values()):.0f} seconds; the report is {folder / 'report.html'}",
    ]
    for part in (*_roles(report), _chosen(report), [agree, ""], _accuracies(report), [""], _gains(report), end):
        terminal.answer({}, as_json=False, text=part)


def _roles(report: SimulationReport) -> list[terminal.Rows | list[str]]:
    """Who did what and what it cost, where anybody did anything but contribute."""
    if all(site.role == "honest" for site in report.sites):
        return []
    cells = [
        (site.name, site.role, site.outcome, site.state or "nothing", site.starts, f"{site.seconds:.0f}")
        for site in report.sites
    ]
    columns = ("site", "played", "outcome", "in the pool", "starts", "seconds")
    return [terminal.Rows(columns, cells, "Who did what, and what it cost"), [""]]


def _chosen(report: SimulationReport) -> terminal.Rows:
    cells = []
    for selection in report.selections:
        weights = ", ".join(f"{item.site} {item.weight:.3f}" for item in selection.weights) or "the seed alone"
        cells.append((selection.task, selection.draw, selection.choice, weights))
    return terminal.Rows(("task", "draw", "choice", "weights"), cells, "What TALS chose")


def _accuracies(report: SimulationReport) -> terminal.Rows:
    title = f"Accuracy with {report.shots} images a class, before → after {report.finetune_steps} steps of fine-tuning"
    lines = [
        (task, size, *(cell_text(cells[start]) for start in (*STARTS, *CONTROLS)))
        for task, sizes in results.table(report.rows).items()
        for size, cells in sizes.items()
    ]
    return terminal.Rows(("task", "size", *STARTS, *CONTROLS), lines, title)


def _gains(report: SimulationReport) -> terminal.Rows:
    title = "Gain of the descendant in points of accuracy, with 95 % intervals over tasks and draws"
    cells = [(gain.name, gain.size, gain.phase, str(gain)) for gain in results.gains(report.rows)]
    return terminal.Rows(("against", "size", "fine-tuning", "gain"), cells, title)
