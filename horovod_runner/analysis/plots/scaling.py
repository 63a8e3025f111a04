"""Table and axes in, axes out: speedup and efficiency of a scaling study, in the look of `plots`.

`points` has a row a framework and number of workers: `framework`, `workers`, `baseline_workers`, `oversubscribed`,
`ceiling`, and `speedup` and `efficiency`, each with `_ci95_low` and `_ci95_high` (missing below three runs). Points of
oversubscribed workers are hollow: they share cores, and what they measure is the machine's scheduler too.
`knees` has a row a framework: `measured` and `predicted` workers, and the bounds `low` and `high` of the latter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from horovod_runner.analysis.plots import look as plots

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

LOGARITHMIC_FROM = 8  # times the baseline's workers: from there on speedup stands on a logarithmic axis too
APART = 0.03  # of its place: so far two frameworks' points stand apart, so that intervals do not cover each other


def speedup(points: pandas.DataFrame, fitted: pandas.DataFrame, knees: pandas.DataFrame, axes: Axes) -> Axes:
    """Draw speedup against workers with 95 % intervals, the ideal, compute-only workers' ceiling, and the fitted law.

    `fitted`: `framework`, `workers`, `law`, `speedup`, `low` and `high` on a fine grid, bounds missing where there is
    no interval.
    """
    first, last = _span(points)
    ideal = np.geomspace(first, last, 40)
    axes.plot(ideal, ideal, color=plots.FAINT, linestyle=":", linewidth=1.2, zorder=1)
    ends = [plots.End(last, last, "ideal", plots.FAINT, ":"), *_ceilings(points, axes), *_laws(fitted, axes)]
    ends += _measured(points, knees, axes, "speedup")
    plots.titled(axes, "Speedup", "workers", f"times {_baseline(points)}")
    if last > LOGARITHMIC_FROM * first:
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    else:
        axes.set_ylim(0, max(last, axes.get_ylim()[1]))
    return _finished(axes, points, knees, ends)


def efficiency(points: pandas.DataFrame, knees: pandas.DataFrame, threshold: float, axes: Axes) -> Axes:
    """Draw efficiency against workers with 95 % intervals, and the threshold that makes the knee.

    Where a law says that the threshold is crossed, there is a diamond with its interval, unless that is beyond the
    figure.
    """
    _, last = _span(points)
    axes.axhline(1, color=plots.FAINT, linestyle=":", linewidth=1.2, zorder=1)
    axes.axhline(threshold, color=plots.FAINT, linewidth=1, zorder=1)
    lines = ((1, "ideal", ":"), (threshold, f"{threshold:g}", "-"))
    ends = [plots.End(last, height, name, plots.FAINT, line) for height, name, line in lines]
    ends += _measured(points, knees, axes, "efficiency")
    for name, at, low, high in _crossings(points, knees):
        axes.plot([low, high], [threshold] * 2, color=plots.colour(name), linewidth=3, alpha=0.4, solid_capstyle="butt")
        axes.plot([at], [threshold], color=plots.colour(name), marker="D", markersize=4.5, linestyle="none", zorder=3)
    plots.titled(axes, "Efficiency", "workers", f"of the ideal, from {_baseline(points)}")
    low, high = axes.get_ylim()
    axes.set_ylim(0.5 if low > 0.5 else 0, max(1.1, high))
    return _finished(axes, points, knees, ends)


def _measured(points: pandas.DataFrame, knees: pandas.DataFrame, axes: Axes, value: str) -> list[plots.End]:
    """Draw a figure of every framework with its intervals and a ring around its knee; return where the points end."""
    ends = []
    knee = dict(zip(knees["framework"], knees["measured"], strict=True))
    for framework, x, rows in _apart(points.dropna(subset=[value])):
        y = rows[value].astype(float)
        look: dict[str, Any] = {"color": plots.colour(framework), "linestyle": "none", "zorder": 3}
        plots.error_bars(axes, x, rows, value, capsize=3, elinewidth=1.2, **look)
        shared = rows["oversubscribed"].astype(bool)
        axes.plot(x[~shared], y[~shared], marker=plots.marker(framework), markersize=5, **look)
        axes.plot(x[shared], y[shared], marker=plots.marker(framework), markersize=5, markerfacecolor="white", **look)
        ring = rows["workers"] == knee.get(framework)
        axes.plot(x[ring], y[ring], marker="o", markersize=11, markerfacecolor="none", **look)
        name = plots.framework_name(framework)
        ends.append(plots.End(x.iloc[-1], y.iloc[-1], name, plots.colour(framework), "none", plots.marker(framework)))
    return ends


def _apart(points: pandas.DataFrame) -> Iterator[tuple[str, pandas.Series[float], pandas.DataFrame]]:
    """Yield each framework with its rows and where these stand: a little beside another framework's."""
    names = sorted(set(points["framework"]))
    for place, name in enumerate(names):
        rows = points[points["framework"] == name].sort_values("workers")
        yield name, rows["workers"] * (1 + APART * (place - (len(names) - 1) / 2)), rows


def _laws(fitted: pandas.DataFrame, axes: Axes) -> Iterator[plots.End]:
    for framework, rows in fitted.groupby("framework"):
        low, high = rows["low"].astype(float), rows["high"].astype(float)
        axes.plot(rows["workers"], rows["speedup"], color=plots.colour(framework), linewidth=1.2, zorder=2)
        if low.notna().any():
            axes.fill_between(rows["workers"], low, high, color=plots.colour(framework), alpha=0.15, linewidth=0)
        last = rows.iloc[-1]
        name = f"{plots.framework_name(framework)}, {last['law']}"
        yield plots.End(last["workers"], last["speedup"], name, plots.colour(framework), "-")


def _ceilings(points: pandas.DataFrame, axes: Axes) -> Iterator[plots.End]:
    for framework, rows in points.dropna(subset=["ceiling"]).sort_values("workers").groupby("framework"):
        counts, ceiling = rows["workers"].astype(float), rows["ceiling"].astype(float)
        between = np.geomspace(counts.iloc[0], counts.iloc[-1], 40)  # a chord would cross the ideal, which is bent
        heights = np.interp(between, counts, ceiling)
        axes.plot(between, heights, color=plots.colour(framework), linestyle=plots.DASHED, linewidth=1.2, zorder=2)
        name = f"{plots.framework_name(framework)}, compute-only"
        yield plots.End(rows["workers"].iloc[-1], ceiling.iloc[-1], name, plots.colour(framework), plots.DASHED)


def _crossings(points: pandas.DataFrame, knees: pandas.DataFrame) -> Iterator[tuple[str, float, float, float]]:
    """Yield framework, place and interval of the predicted knees that lie within the figure."""
    first, last = _span(points)
    for framework, *bounds in knees.dropna(subset=["predicted"])[["framework", "predicted", "low", "high"]].to_numpy():
        at, low, high = (float("nan" if bound is None else bound) for bound in bounds)
        if first <= at <= last:
            yield framework, at, max(first, low), min(last, high)


def _finished(axes: Axes, points: pandas.DataFrame, knees: pandas.DataFrame, ends: list[plots.End]) -> Axes:
    """Name numbers of workers and curves, and say what rings and hollow points mean, where there are any."""
    plots.worker_ticks(axes, sorted({int(count) for count in points["workers"]}))
    plots.name_ends(axes, ends)
    key = ["hollow: workers share cores"] if points["oversubscribed"].astype(bool).any() else []
    key += ["ring: the measured knee"] if knees["measured"].notna().any() else []
    return plots.remarks(axes, key)


def _span(points: pandas.DataFrame) -> tuple[int, int]:
    return int(points["workers"].min()), int(points["workers"].max())


def _baseline(points: pandas.DataFrame) -> str:
    """Return the baseline in words, or of frameworks whose baselines differ each one's."""
    return "its " + " or ".join(plots.named_workers(int(count)) for count in sorted(set(points["baseline_workers"])))
