"""bench.json, bench.md and the plots."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import genepool_protocol
from genepool_client.transport.durable import write_atomic
from genepool_lab.benchmark import plots, tables
from genepool_lab.benchmark.method import SELECT_CODE, TRAIN_CODE
from genepool_lab.benchmark.play import Found
from genepool_lab.benchmark.table import Table
from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.private_files import shared_mode


def write(found: Found, blueprint: Blueprint, folder: Path, seconds: dict[str, float]) -> list[Table]:
    """Write everything into an existing folder; returns the tables.

    Args:
        found: what was measured.
        blueprint: of the pool.
        folder: for the files.
        seconds: of the wall clock by phase, of this run alone.
    """
    drawn_tables = tables.tables(found, blueprint)
    content = {
        "software": genepool_protocol.__version__,
        "blueprint": {"name": blueprint.name, "sha256": blueprint.sha256},
        "code": {"training": TRAIN_CODE, "selection": SELECT_CODE},
        "finished": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "plan": asdict(found.plan),
        "tasks": [asdict(task) for task in found.tasks],
        "tables": [asdict(table) for table in drawn_tables],
        "sites": found.sites,
        "selections": found.selections,
        "stage_seconds": found.stage_seconds,
        "rows": [asdict(row) for row in found.rows],
        "wall_seconds": seconds,
        "core_seconds": found.seconds,
    }
    write_atomic(folder / "bench.json", (json.dumps(content, indent=1) + "\n").encode(), shared_mode())
    drawn = plots.draw(found, blueprint, folder)
    write_atomic(folder / "bench.md", (_page(found, blueprint, drawn_tables, drawn, seconds)).encode(), shared_mode())
    return drawn_tables


def _page(found: Found, blueprint: Blueprint, made: list[Table], drawn: list[Path], seconds: dict[str, float]) -> str:
    plan, sites = found.plan, len(found.sites) - 1
    core = sum(found.seconds.values())
    seed = blueprint.seed.sha256.removeprefix("sha256:")[:16]
    intro = (
        f"# Benchmark of {blueprint.name} ({plan.name})\n\n"
        f"{sites} sites; {len(found.tasks)} tasks of up to {plan.ways} classes that no site saw; {plan.draws} draws of "
        f"classes and images each; every site was trained {_times(plan.trainings)}. Seed `{seed}`. This run took "
        f"{sum(seconds.values()) / 60:.0f} minutes ({core / 60:.0f} of processor time, FedAvg's not counted); what an "
        "earlier run had left in the store took none.\n"
    )
    images = "\n".join(f"![{path.stem}]({path.name})" for path in drawn)
    return "\n".join([intro, *(table.markdown() for table in made), "## Plots\n", images, ""])


def _times(trainings: int) -> str:
    return "once" if trainings == 1 else f"{trainings} times with other random numbers, the draws taking turns"
