"""The plots of a benchmark, PNG files that a person reads at a glance."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np

mpl.use("Agg")  # before pyplot: there may be no screen

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from genepool_client.simulate.page import pictures
from genepool_lab.benchmark import rows as names
from genepool_lab.benchmark.play import Found
from genepool_lab.benchmark.statistics import gain, mean, where
from genepool_lab.benchmark.tasks import KINDS
from genepool_protocol.learngene.blueprint import Blueprint

_DPI: Final = 120
_OURS: Final = "#d95f02"
_GRAY: Final = "#7f7f7f"
_COLOURS: Final = {
    names.SCRATCH: "#b8b8b8",
    names.SEED: "#6baed6",
    names.SOUP: "#9e9ac8",
    names.SELECTION: "#c7a77b",
    names.FEDAVG: "#8c564b",
    names.JOINT: "#2ca02c",
    names.BY_EMBEDDING: "#e7ba52",
    names.TALS: _OURS,
    names.ORACLE_TASK: "#333333",
    names.OWN: "#e7ba52",
    names.DIRECT: "#2ca02c",
}


def draw(found: Found, blueprint: Blueprint, folder: Path) -> list[Path]:
    """All plots, in the order in which they are looked at."""
    return [
        _gains(found, folder / "gains.png"),
        _epochs(found, folder / "epochs.png"),
        _growth(found, folder / "growth.png"),
        _sizes(found, blueprint, folder / "sizes.png"),
        _weights(found, folder / "weights.png"),
    ]


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=_DPI, bbox_inches="tight", facecolor="white")
    plt.close(figure)
    return path


def _plain(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def _gains(found: Found, path: Path) -> Path:
    """Points over the seed of every start, with intervals, by kind of task."""
    rows = where(found.rows, table=names.MAIN, shots=found.plan.shots_once)
    columns = [column for column in names.COLUMNS if column not in {names.SEED, names.SCRATCH}][::-1]
    kinds = [kind for kind in KINDS if where(rows, kind=kind)]
    figure, axes = plt.subplots(
        1, len(kinds), figsize=(2.6 + 2.5 * len(kinds), 4.6), sharex=True, sharey=True, squeeze=False
    )
    for axis, kind in zip(axes[0], kinds, strict=True):
        seed = where(rows, kind=kind, column=names.SEED)
        axis.axvline(0, color=_COLOURS[names.SEED], linewidth=1.5)
        for place, column in enumerate(columns):
            value = gain(where(rows, kind=kind, column=column), seed)
            if value is not None:
                colour = _OURS if column == names.TALS else _GRAY
                if value.low is not None:
                    axis.plot([value.low, value.high], [place, place], color=colour, linewidth=2)
                axis.plot(value.mean, place, "o", color=colour, markersize=6 if column == names.TALS else 4)
        axis.set_yticks(range(len(columns)), columns)
        count = len({row.task for row in seed})
        axis.set_title(f"{kind} ({count} task{'s' * (count > 1)})", size=9)
        axis.grid(axis="x", alpha=0.3)
        _plain(axis)
    figure.supxlabel(
        f"points over the seed (blue line), {found.plan.shots_once} images a class, no fine-tuning, 95 % intervals",
        size=9,
    )
    figure.tight_layout()
    return _save(figure, path)


def _epochs(found: Found, path: Path) -> Path:
    """Accuracy over epochs of fine-tuning, a panel for each number of images."""
    rows, plan = where(found.rows, table=names.EPOCHS), found.plan
    budgets = (0, *plan.epochs)
    figure, axes = plt.subplots(
        1, len(plan.shots), figsize=(3.1 * len(plan.shots) + 1, 3.4), sharey=True, squeeze=False
    )
    for axis, shots in zip(axes[0], plan.shots, strict=True):
        for column in names.TUNED:
            own = where(rows, shots=shots, column=column)
            values = [mean(where(own, epochs=epochs)) or np.nan for epochs in budgets]
            width = 2.4 if column == names.TALS else 1.3
            axis.plot(
                range(len(budgets)), values, "o-", label=column, color=_COLOURS[column], linewidth=width, markersize=4
            )
        axis.set_xticks(range(len(budgets)), [str(epochs) for epochs in budgets])
        axis.set_title(f"{shots} image{'s' * (shots > 1)} a class", size=9)
        axis.grid(axis="y", alpha=0.3)
        _plain(axis)
    axes[0][0].set_ylabel("mean accuracy over all tasks", size=9)
    figure.supxlabel("epochs of fine-tuning on the support set", size=9, y=0.02)
    figure.legend(
        *axes[0][0].get_legend_handles_labels(),
        fontsize=8,
        ncols=4,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        frameon=False,
    )
    figure.tight_layout()
    return _save(figure, path)


def _growth(found: Found, path: Path) -> Path:
    """TALS and the uniform soup as the pool grows, against the seed."""
    rows = where(found.rows, table=names.GROWTH)
    stages = list(dict.fromkeys(row.column.split(" | ")[1] for row in rows if row.column.startswith(names.TALS)))
    figure, axis = plt.subplots(figsize=(1.5 * len(stages) + 2, 3.4))
    for column, mark, place in ((names.TALS, "o", 8), (names.SOUP, "s", -12)):
        values = [mean(where(rows, column=f"{column} | {stage}")) or np.nan for stage in stages]
        axis.plot(range(len(stages)), values, mark, color=_COLOURS[column], label=column, markersize=9)
        for x, value in enumerate(values):
            text = f"{value:.3f}".lstrip("0")
            axis.annotate(text, (x, value), (0, place), textcoords="offset points", ha="center", size=7)
    seed = mean(where(rows, column=f"{names.SEED} | no pool"))
    if seed is not None:
        axis.axhline(seed, color=_COLOURS[names.SEED], linewidth=1.5, label="seed alone")
    axis.set_xticks(range(len(stages)), [stage.replace(" + ", "\n+ ") for stage in stages])
    axis.margins(x=0.12, y=0.25)
    axis.grid(axis="y", alpha=0.3)
    axis.set_ylabel("mean accuracy over all tasks", size=9)
    axis.set_title(f"a growing pool, {found.plan.shots_once} images a class, no fine-tuning", size=9)
    axis.legend(fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.22), frameon=False)
    _plain(axis)
    return _save(figure, path)


def _sizes(found: Found, blueprint: Blueprint, path: Path) -> Path:
    """Accuracy against the number of parameters."""
    rows = where(found.rows, table=names.SIZES)
    sizes = sorted(found.plan.sizes, key=blueprint.params)
    figure, axis = plt.subplots(figsize=(6.4, 3.8))
    for column in (names.SCRATCH, names.SEED, names.TALS, names.OWN, names.DIRECT):
        values = [mean(where(rows, column=column, size=str(size))) or np.nan for size in sizes]
        line = "--" if column == names.OWN else "-"
        axis.plot(range(len(sizes)), values, f"o{line}", label=column, color=_COLOURS[column], markersize=4)
    ticks = [f"{size}\n{blueprint.params(size) / 1e6:.2f} M" for size in sizes]
    axis.set_xticks(range(len(sizes)), ticks)  # side by side: some sizes have nearly as many parameters as others
    axis.set_xlabel("layers,heads and parameters", size=9)
    axis.set_ylabel("mean accuracy", size=9)
    axis.set_title(
        f"{found.plan.size_domains} covered domains, {found.plan.shots_once} images a class, no fine-tuning", size=9
    )
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _plain(axis)
    axis.tick_params(axis="x", labelsize=7)
    return _save(figure, path)


def _weights(found: Found, path: Path) -> Path:
    """Which learngenes TALS chose for which task."""
    sites = [site["site"] for site in found.sites[:-1]]
    tasks = [task.name for task in found.tasks]
    said = [selection for selection in found.selections if selection["shots"] == found.plan.shots_once]
    return pictures.weights(tasks, [*sites, "seed alone"], _matrix(said, tasks, sites), path)


def _matrix(said: Sequence[dict[str, Any]], tasks: Sequence[str], sites: Sequence[str]) -> np.ndarray:
    out, counts = np.zeros((len(tasks), len(sites) + 1)), np.zeros(len(tasks))
    for selection in said:
        row = tasks.index(selection["task"])
        counts[row] += 1
        for name, weight in selection["weights"].items():
            out[row, sites.index(name)] += weight
        out[row, -1] += not selection["weights"]
    return np.asarray(out / np.maximum(counts, 1)[:, None])
