"""The pictures of a report, drawn with matplotlib to PNG files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np

mpl.use("Agg")  # before pyplot: there may be no screen

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from genepool_client.simulate.experiment import DESCENDANT, SCRATCH, SEED
from genepool_client.simulate.page import fonts
from genepool_client.simulate.page.results import TableCell
from genepool_protocol.learngene.size import Size

_COLOURS = {SCRATCH: "#b8b8b8", SEED: "#6baed6", DESCENDANT: "#d95f02"}
_DPI = 120
FEW: Final = 12
"""Sites that a heat map draws in columns; more stand in rows."""
SEED_ALONE: Final = "seed alone"


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=_DPI, bbox_inches="tight", facecolor="white")
    plt.close(figure)
    return path


def samples(name: str, images: np.ndarray, labels: np.ndarray, classes: Sequence[str], path: Path) -> Path:
    """Up to ten classes of one data set, six images each, a row a class."""
    shown, count = min(len(classes), 10), 6
    with fonts.able_to_draw([name, *classes[:shown]]):
        figure, axes = plt.subplots(shown, count, figsize=(count * 0.62, shown * 0.62), squeeze=False)
        for row in range(shown):
            members = np.flatnonzero(labels == row)[:count]
            for column in range(count):
                axis = axes[row][column]
                axis.axis("off")
                if column < len(members):
                    axis.imshow(images[members[column]], interpolation="nearest")
            label = fonts.shortened(classes[row], 14)
            axes[row][0].text(-0.25, 0.5, label, transform=axes[row][0].transAxes, ha="right", va="center", size=7)
        figure.suptitle(fonts.drawable(name), size=10)
        return _save(figure, path)


def weights(tasks: Sequence[str], sites: Sequence[str], values: np.ndarray, path: Path) -> Path:
    """Heat map of the mean weight that TALS gave to each site; the last column of `values` is the seed alone.

    A few sites stand in columns, a row a task. Many stand in rows, which a page can scroll through, and only those with
    a weight are drawn.

    Args:
        tasks: names of the tasks, T.
        sites: names of the sites, S.
        values: shape (T, S + 1).
        path: of the PNG.
    """
    columns, title = [*sites, SEED_ALONE], "mean weight of each site's learngene, by task"
    with fonts.able_to_draw([*tasks, *columns]):
        if len(sites) <= FEW:
            figure, axis = plt.subplots(figsize=(1.1 + 0.85 * len(columns), 0.9 + 0.45 * len(tasks)))
            _heat(axis, tasks, columns, values)
        else:
            drawn = [place for place in range(len(columns)) if place == len(sites) or values[:, place].any()]
            figure, axis = plt.subplots(figsize=(2.6 + 0.75 * len(tasks), 1.6 + 0.24 * len(drawn)))
            _heat(axis, [columns[place] for place in drawn], tasks, values[:, drawn].T)
            title += f"\n{len(sites) - len(drawn) + 1} of {len(sites)} sites have no weight and are not drawn"
        axis.set_title(title, size=10)
        return _save(figure, path)


def _heat(axis: Axes, rows: Sequence[str], columns: Sequence[str], values: np.ndarray) -> None:
    image = axis.imshow(values, cmap="Oranges", vmin=0, vmax=max(1.0, float(values.max())), aspect="auto")
    axis.set_xticks(range(len(columns)), [fonts.drawable(name) for name in columns], rotation=30, ha="right")
    axis.set_yticks(range(len(rows)), [fonts.drawable(name) for name in rows])
    for row, column in zip(*np.nonzero(values), strict=True):
        value = values[row, column]
        colour = "white" if value > 0.6 else "black"
        axis.text(column, row, f"{value:.2f}", ha="center", va="center", size=8, color=colour)
    axis.figure.colorbar(image, ax=axis, fraction=0.03)


def bars(table: Mapping[str, Mapping[Size, Mapping[str, TableCell]]], size: Size, path: Path) -> Path:
    """Accuracy of the three starting points by task at one size: solid before, outlined after fine-tuning."""
    with fonts.able_to_draw(table):
        return _save(_bars(table, size), path)


def _bars(table: Mapping[str, Mapping[Size, Mapping[str, TableCell]]], size: Size) -> Figure:
    tasks = list(table)
    figure: Figure
    figure, axis = plt.subplots(figsize=(1.4 * len(tasks) + 1.5, 3.0))
    place = np.arange(len(tasks), dtype=float)
    for index, start in enumerate((SCRATCH, SEED, DESCENDANT)):
        cells = [table[task][size][start] for task in tasks]
        x = place + (index - 1) * 0.27
        axis.bar(x, [cell.before for cell in cells], 0.25, color=_COLOURS[start], label=start)
        after = [cell.after if cell.after is not None else float("nan") for cell in cells]
        axis.scatter(
            x,
            after,
            marker="_",
            s=160,
            color="black",
            linewidths=1.6,
            label="after fine-tuning" if index == 2 else None,
        )
    axis.set_xticks(place, [fonts.drawable(name) for name in tasks], rotation=15, ha="right")
    axis.set_ylim(0, 1)
    axis.set_ylabel("accuracy on unseen images")
    axis.set_title(f"{size.depth} layers, {size.heads} heads", size=10)
    axis.legend(fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.22), frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    return figure
