"""report.json, report.html and the pictures of a simulation."""

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape

from genepool_client.pictures.images import ImageSet
from genepool_client.simulate.experiment import CONTROLS, STARTS, StartAccuracy
from genepool_client.simulate.page import pictures, results
from genepool_client.transport.durable import write_atomic
from genepool_protocol.private_files import shared_mode


@dataclass(frozen=True, slots=True)
class SiteReport:
    """One row of the sites' table.

    Attributes:
        accuracy: on held-out images; None without any.
        contribution_id: of the newest that has a receipt; empty: none has.
        state: of that contribution in the pool.
        kept_out: why the pool did not take it in.
        role: what the site played.
        outcome: how that ended.
        events: what happened to a site with a role.
        starts: processes that it took.
        seconds: from its beginning to its receipt, or to whatever its end was.
        cpu_seconds: of its processes; None where Flower's serve several sites.
    """

    name: str
    images: int
    classes: int
    accuracy: float | None  # on held-out images; None with too few of them, or untrained
    held_out: int
    agreement: float | None
    learngene_bytes: int
    ancestry_bytes: int
    contribution_id: str
    kept_out: str = ""
    state: str = "ACTIVE"
    role: str = "honest"
    outcome: str = "contributed"
    events: list[str] = field(default_factory=list)
    starts: int = 1
    seconds: float = 0.0
    cpu_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class WeightReport:
    """One learngene of a selection."""

    site: str
    weight: float


@dataclass(frozen=True, slots=True)
class SelectionReport:
    """What TALS answered for one support set."""

    task: str
    draw: int
    choice: str
    weights: list[WeightReport]
    reason: str


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """How the story ends."""

    sentence: str
    tampered_file: str
    tampering_refused: bool
    tampering_reason: str


@dataclass
class SimulationReport:
    """Everything that a simulation found out.

    Attributes:
        rows: the single measurements.
        seconds: that each phase took.
        cpu_seconds: of all processes in each phase, see `CostMeter`.
        peak_bytes: of memory that all processes held at one look.
        rng: which dice.
    """

    software: str
    blueprint: str
    finished: str
    shots: int
    draws: int
    finetune_steps: int
    sites: list[SiteReport]
    tasks: list[str]
    selections: list[SelectionReport]
    modes_agree: bool
    rows: list[StartAccuracy]
    verification: VerificationReport
    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    peak_bytes: int = 0
    rng: int = 0


def write(report: SimulationReport, folder: Path, sites: Sequence[ImageSet], tasks: Sequence[ImageSet]) -> Path:
    """Write report.json, the PNGs and report.html; returns the page's path.

    Args:
        report: what was found.
        folder: an existing folder.
        sites: images of the sites, in the report's order.
        tasks: images of the tasks, in the report's order.
    """
    table = results.table(report.rows)
    gains = results.gains(report.rows)
    content = {**asdict(report), "gains": [asdict(gain) for gain in gains]}
    write_atomic(folder / "report.json", (json.dumps(content, indent=1) + "\n").encode(), shared_mode())
    drawn = _draw(report, folder, sites, tasks, table)
    environment = Environment(
        loader=PackageLoader("genepool_client.simulate.page"), autoescape=select_autoescape(["j2", "html"])
    )
    page = environment.get_template("report.html.j2").render(
        report=report, starts=STARTS, controls=CONTROLS, rows=list(_lines(table)), gains=gains, pictures=drawn
    )
    write_atomic(folder / "report.html", (page).encode(), shared_mode())
    return folder / "report.html"


def _inline(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def _draw(
    report: SimulationReport, folder: Path, sites: Sequence[ImageSet], tasks: Sequence[ImageSet], table: dict[str, Any]
) -> dict[str, Any]:
    names = [site.name for site in report.sites]
    grids: dict[str, list[Path]] = {"site": [], "task": []}
    for kind, labels, sets in (("site", names, sites), ("task", report.tasks, tasks)):
        for name, images in zip(labels, sets, strict=False):
            path = folder / f"{kind}-{name}.png"
            grids[kind].append(pictures.samples(name, images.pixels, images.labels, images.classes, path))
    heat = pictures.weights(report.tasks, names, weight_matrix(report), folder / "weights.png")
    sizes = sorted({row.size for row in report.rows})
    bars = [pictures.bars(table, size, folder / f"accuracy-{size.depth}x{size.heads}.png") for size in sizes]
    return {
        "sites": [_inline(path) for path in grids["site"]],
        "tasks": [_inline(path) for path in grids["task"]],
        "weights": _inline(heat),
        "bars": [_inline(path) for path in bars],
    }


def weight_matrix(report: SimulationReport) -> np.ndarray:
    """Mean weight of each site by task over the draws, shape (tasks, sites + 1); the last column is the seed alone."""
    names = [site.name for site in report.sites]
    out = np.zeros((len(report.tasks), len(names) + 1))
    for selection in report.selections:
        row = report.tasks.index(selection.task)
        if not selection.weights:
            out[row, -1] += 1 / report.draws
        for item in selection.weights:
            out[row, names.index(item.site)] += item.weight / report.draws
    return out


def _lines(table: dict[str, Any]) -> Any:
    """The big table: a line per task and size, the best start of each phase marked."""
    for task, sizes in table.items():
        for size, cells in sizes.items():
            best = max(cells[start].before for start in STARTS)
            shown = [
                {"text": cell_text(cells[start]), "best": start in STARTS and cells[start].before == best}
                for start in (*STARTS, *CONTROLS)
            ]
            yield {"task": task, "size": str(size), "cells": shown}


def cell_text(cell: results.TableCell) -> str:
    """`.61 → .70`, or `.61` where nothing was fine-tuned."""
    before = f"{cell.before:.2f}"
    return before if cell.after is None else f"{before} → {cell.after:.2f}"
