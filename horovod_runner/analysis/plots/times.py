"""Table and axes in, axes out: where the seconds of a step go, how they scatter, and which worker is slow.

The look is that of `plots`; seconds are drawn as milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.mlab import GaussianKDE
from matplotlib.ticker import FixedLocator, NullLocator

from horovod_runner.analysis.plots import look as plots

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

PARTS = {  # of a step, from the axis outwards: name, colour (Okabe & Ito's that no framework has)
    "computing": ("computing", "#b9bcc1"),
    "input": ("waiting for data", "#009e73"),
    "imbalance": ("straggler", "#e6c700"),
    "communication": ("communication", "#cc79a7"),
}
WIDEST = 0.36  # of the distance between two numbers of workers: half of what a framework's shape may take
QUANTILES = np.linspace(0.01, 0.99, 200)  # what a shape is drawn from, however many steps there are
MOST_RANKS_MARKED = 32


def parts(table: pandas.DataFrame, axes: Axes) -> Axes:
    """Draw where a step's seconds go, a bar a framework and number of workers, in the pieces of PARTS.

    `table` has `framework`, `workers` and a column of seconds for each part. A negative part (communication that is
    smaller than the noise) hangs below the axis.
    """
    places = _places(table)
    drawn = [part for part in PARTS if table[part].notna().any()]
    for (framework, workers), rows in table.groupby(["framework", "workers"]):
        x, half = places[framework, workers]
        above = below = 0.0
        for part in drawn:
            height = 1000 * float(rows[part].fillna(0).iloc[0])
            base = above if height >= 0 else below
            axes.bar(x, height, width=1.7 * half, bottom=base, color=PARTS[part][1], linewidth=0)
            above, below = (above + height, below) if height >= 0 else (above, below + height)
        look: dict[str, Any] = {"marker": plots.marker(framework), "color": plots.colour(framework), "markersize": 5}
        axes.plot([x], [above], linestyle="none", **look)
    plots.titled(axes, "Where a step's time goes", "workers", "ms a step")
    axes.use_sticky_edges = False  # a bar's edge would take the margin away, and cut a marker on it in half
    axes.margins(y=0.1)
    if not (table[drawn] < 0).any(axis=None):
        axes.set_ylim(bottom=0)
    _worker_groups(axes, table)
    entries = [(*PARTS[part], "s") for part in reversed(drawn)]
    return plots.key(axes, entries + plots.framework_key(table["framework"]))


def step_times(clocks: Mapping[tuple[str, int], NDArray], axes: Axes) -> Axes:
    """Draw how the seconds of steps scatter, a shape a framework and number of workers, warm-up left out.

    `clocks`: seconds of the steps of all runs, by framework and workers. A shape is as wide as steps are frequent, from
    the 1st to the 99th percentile; within it the median (line), the quartiles (bar) and the 95th percentile (tick).
    """
    places = _places(clocks)
    for (framework, workers), seconds in clocks.items():
        x, half = places[framework, workers]
        steps = 1000 * np.quantile(seconds, QUANTILES)
        heights = np.linspace(steps[0], steps[-1], 80)
        if steps[-1] > steps[0]:
            width = GaussianKDE(steps)(heights)
            width *= half / width.max()
            axes.fill_betweenx(heights, x - width, x + width, color=plots.colour(framework), alpha=0.35, linewidth=0)
        low, median, high, rare = 1000 * np.quantile(seconds, (0.25, 0.5, 0.75, 0.95))
        axes.plot([x, x], [low, high], color=plots.colour(framework), linewidth=3.5, solid_capstyle="butt")
        axes.plot([x - half, x + half], [median] * 2, color=plots.colour(framework), linewidth=1.4)
        axes.plot([x - half / 3, x + half / 3], [rare] * 2, color=plots.colour(framework), linewidth=1)
        axes.plot([x], [median], marker=plots.marker(framework), color=plots.colour(framework), markersize=4.5)
    plots.titled(axes, "Step times", "workers", "ms a step")
    _worker_groups(axes, clocks)
    return plots.key(axes, plots.framework_key(name for name, _ in clocks))


def ranks(table: pandas.DataFrame, axes: Axes) -> Axes:
    """Draw the mean step seconds of every worker by rank, a curve a framework, with its slowest worker ringed.

    `table` has `framework`, `compute_only`, `run`, `rank` and `seconds`: a worker's mean in a run; those of
    compute-only workers are dashed. Of several runs the mean is drawn, in a band from the least to the largest.
    """
    ends = []
    for (framework, compute_only), rows in table.groupby(["framework", "compute_only"]):
        over = 1000 * rows.groupby("rank")["seconds"].agg(["mean", "min", "max"])
        mean, line = over["mean"], plots.DASHED if compute_only else "-"
        shape = plots.marker(framework) if len(over) <= MOST_RANKS_MARKED else ""
        axes.plot(over.index, mean, color=plots.colour(framework), linestyle=line, marker=shape, markersize=4.5)
        axes.fill_between(over.index, over["min"], over["max"], color=plots.colour(framework), alpha=0.15, linewidth=0)
        ring: dict[str, Any] = {"marker": "o", "markersize": 11, "markerfacecolor": "none", "linestyle": "none"}
        axes.plot([mean.idxmax()], [mean.max()], color=plots.colour(framework), **ring)
        more = 100 * (mean.max() / mean.median() - 1)
        name = f"{plots.framework_name(framework)}{', compute-only' if compute_only else ''}: {more:+.1f} %"
        ends.append(plots.End(over.index[-1], mean.iloc[-1], name, plots.colour(framework), line, shape))
    plots.whole_numbers(axes)
    axes.margins(x=0.08, y=0.12)
    plots.titled(axes, f"Each of {int(table['rank'].max()) + 1} workers", "rank", "ms a step")
    plots.name_ends(axes, ends)
    return plots.remarks(axes, ["ring: the slowest"])


def _cells(table: pandas.DataFrame | Mapping[tuple[str, int], Any]) -> list[tuple[str, int]]:
    """Return the frameworks and numbers of workers of a table, or of the keys of a mapping."""
    if isinstance(table, Mapping):
        return sorted(table)
    return sorted(zip(table["framework"], (int(count) for count in table["workers"]), strict=True))


def _places(table: pandas.DataFrame | Mapping[tuple[str, int], Any]) -> dict[tuple[str, int], tuple[float, float]]:
    """Return where each cell stands, in the middle of its share of its number of workers' place, and half its width."""
    cells = _cells(table)
    names, counts = sorted({name for name, _ in cells}), sorted({count for _, count in cells})
    half = WIDEST / len(names)
    left = {name: half * (2 * place - len(names) + 1) for place, name in enumerate(names)}
    return {(name, count): (counts.index(count) + left[name], 0.9 * half) for name, count in cells}


def _worker_groups(axes: Axes, table: pandas.DataFrame | Mapping[tuple[str, int], Any]) -> None:
    """Name the places of the numbers of workers."""
    counts = sorted({count for _, count in _cells(table)})
    axes.set_xlim(-0.5, len(counts) - 0.5)
    axes.xaxis.set_major_locator(FixedLocator(range(len(counts))))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([str(count) for count in counts])
