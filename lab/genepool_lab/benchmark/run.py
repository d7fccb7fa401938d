"""`genepool simulate --benchmark`: from options to a folder with bench.json, bench.md and plots."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from genepool_client.simulate.watch import Clock, Watch
from genepool_console import terminal
from genepool_lab.benchmark import report
from genepool_lab.benchmark.lab import Lab
from genepool_lab.benchmark.plan import full, quick
from genepool_lab.benchmark.play import Benchmark
from genepool_lab.benchmark.table import Table
from genepool_protocol.wire.errors import InvalidInput

STORE = "store"
"""Folder inside the report folder that keeps everything that was computed."""
_MARK = ".genepool-benchmark"


def run(
    folder: Path, data: Sequence[Path], blueprint: str, processes: int, watch: Watch, *, small: bool, steps: int = 0
) -> list[Table]:
    """Run the benchmark, or go on with one that was interrupted; writes its files into `folder`.

    Args:
        folder: new, or of an earlier benchmark, whose store is used again.
        data: folders of domains; empty: the sample pack.
        blueprint: name of a bundled one.
        processes: that compute at the same time, one thread each.
        watch: is told of every phase.
        small: the quick plan instead of the full one.
        steps: of a site's ancestry model; 0: the plan's.

    Raises:
        InvalidInput: PATH_NOT_EMPTY, wrong data or blueprint.
        Unavailable: SIMULATION_FAILED.
    """
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / _MARK).exists())):
        raise InvalidInput(
            "PATH_NOT_EMPTY", f"{folder} holds something else than a benchmark", "choose another --report"
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).touch()
    clock = Clock(watch)
    lab = Lab(blueprint, folder.absolute() / STORE)
    plan = quick() if small else full()
    plan = replace(plan, steps=steps or plan.steps)
    benchmark = Benchmark(lab, plan, data, processes, clock).run()
    with clock.phase("tables and plots"):
        return report.write(benchmark, lab.blueprint, folder, clock.seconds)


def show(made: Sequence[Table], folder: Path) -> None:
    """Print the targets, and where everything is."""
    first = made[0]
    terminal.answer({}, as_json=False, text=terminal.Rows(first.head, first.lines, first.title))
    terminal.answer({}, as_json=False, text=f"everything: {folder / 'bench.md'}")
