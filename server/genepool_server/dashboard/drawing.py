"""Drawings as SVG, by matplotlib: values to bytes. One thread at a time, for matplotlib has global state."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK: Final = "#1f2a37"
_GRID: Final = "#d5dce5"
_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#AA4499", "#8A6D00", "#56B4E9", "#882255", "#44AA99")
"""After Okabe and Ito, and Tol: told apart by people who see no red or no green. Shapes tell them apart as well."""

_SHAPES: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
NAMED: Final = len(_COLOURS) * 2
"""Sites that have a sign of their own; more are drawn as the rest."""

_WIDTH: Final = 8.6  # inches
_SETTINGS: Final[dict[str, Any]] = {
    "svg.fonttype": "none",  # text stays text: it is searched, and has the reader's font
    "svg.hashsalt": "genepool",  # the same values give the same bytes
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "sans-serif"],
    "font.size": 10,
    "text.parse_math": False,  # a name is a name
}


def scatter(sites: Sequence[str], places: npt.NDArray[np.float64], shares: tuple[float, float], noise: float) -> bytes:
    """Points by site, with axes of one scale.

    Args:
        sites: of each point.
        places: float64 (N, 2).
        shares: of variance, of each axis.
        noise: standard deviation on a coordinate that differences are to be held against; 0: there is none.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(_WIDTH, 5.6), layout="constrained")
        axes = figure.add_subplot()
        axes.grid(color=_GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        names = sorted(set(sites))
        own = np.asarray(sites)
        for number, name in enumerate(names[:NAMED]):
            mine = places[own == name]
            shape, colour = _SHAPES[number % len(_SHAPES)], _COLOURS[(number + number // len(_SHAPES)) % len(_COLOURS)]
            axes.scatter(mine[:, 0], mine[:, 1], s=70, marker=shape, color=colour, label=name, edgecolors="white")
        rest = places[~np.isin(own, names[:NAMED])]
        if len(rest):
            label = f"{len(names) - NAMED} more sites"
            axes.scatter(rest[:, 0], rest[:, 1], s=24, marker=".", color="#6b7785", label=label)
        if noise:
            axes.errorbar(0, 0, xerr=noise, yerr=noise, color=_INK, capsize=4, linewidth=1, label="noise, one sigma")
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_xlabel(f"first principal component ({shares[0]:.0%} of the variance)")
        axes.set_ylabel(f"second principal component ({shares[1]:.0%})")
        axes.margins(0.12)
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
        return _svg(figure, axes, "Domain embeddings in two dimensions")


def bars(days: Mapping[str, int], label: str, title: str) -> bytes:
    """A bar for each day.

    Args:
        days: YYYY-MM-DD -> how many, in their order.
        label: of the axis.
        title: for who cannot see it.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(_WIDTH, 2.8), layout="constrained")
        axes = figure.add_subplot()
        axes.grid(axis="y", color=_GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.bar(range(len(days)), list(days.values()), color=_COLOURS[0], width=0.75)
        step = max(1, -(-len(days) // 8))
        axes.set_xticks(range(0, len(days), step), [day[5:] for day in list(days)[::step]])
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        axes.set_ylim(0, max(1, *days.values()) * 1.15)
        axes.set_ylabel(label)
        return _svg(figure, axes, title)


def _svg(figure: "Figure", axes: "Axes", title: str) -> bytes:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_GRID)
    axes.tick_params(colors=_INK, length=0)
    axes.xaxis.label.set_color(_INK)
    axes.yaxis.label.set_color(_INK)
    raw = io.BytesIO()
    figure.savefig(raw, format="svg", metadata={"Title": title, "Date": None, "Creator": "genepool"})
    return raw.getvalue()
