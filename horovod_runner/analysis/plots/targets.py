"""Steps to target against batch, and what stands beside it, in the look of `plots`.

`batches` has a row a framework, optimizer and batch, as `targets.batch_rows` makes them; `fits` a row a framework and
optimizer. An optimizer has its colour and marker; a framework has its panel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from horovod_runner.analysis.plots import look as plots
from horovod_runner.analysis.questions.target_study import fit_rows, speed_rows

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from horovod_runner.analysis.questions.targets import Batches

LOOKS = tuple(zip((plots.INK, *plots.OTHER_COLOURS, "#e69f00", "#0072b2"), ("o", "s", "^", "D", "v", "P"), strict=True))
APART = 0.04  # of its place: so far arms' points stand apart, so that intervals do not cover each other
LEAST_SPAN = 4.0  # from the bottom of an axis to its top: two numbers stand on it, and little looks little
Panel = Callable[["Axes"], "Axes"]


def figure_of(found: Batches) -> Figure:
    """Return all panels: steps to target, images a second and times where they were measured, and best rates."""
    import pandas

    batches, fits, speeds = map(pandas.DataFrame, (found.rows, fit_rows(found.study), speed_rows(found.study)))
    drawn = list(_panels(batches, fits, speeds))
    made, axes = plots.sheet(len(drawn))
    for place, panel in zip(axes, drawn, strict=True):
        panel(place)
    return made


def _panels(batches: pandas.DataFrame, fits: pandas.DataFrame, speeds: pandas.DataFrame) -> Iterator[Panel]:
    frameworks, optimizers = (list(dict.fromkeys(batches[name])) for name in ("framework", "optimizer"))
    for framework in frameworks:
        yield partial(steps, _of(batches, framework), _of(fits, framework), optimizers)
    if len(speeds):
        yield partial(throughput, speeds)
        for framework in (name for name in frameworks if _of(batches, name)["seconds_to_target"].notna().any()):
            yield partial(seconds, _of(batches, framework), optimizers)
    for framework in frameworks:
        yield partial(rates, _of(batches, framework), optimizers)


def _of(table: pandas.DataFrame, framework: str) -> pandas.DataFrame:
    return table[table["framework"] == framework]


def steps(batches: pandas.DataFrame, fits: pandas.DataFrame, optimizers: Sequence[str], axes: Axes) -> Axes:
    """Draw one framework's steps to target against batch with 95 % intervals, and the fitted law of each optimizer.

    A vertical mark on a law is its B_crit, where that lies within the batches; the dotted guide halves at each
    doubling.
    """
    ends = []
    for optimizer, look, rows in _arms(batches, optimizers):
        _with_intervals(axes, rows, "steps_to_target", look, apart=optimizers.index(optimizer))
        ends.append(_end(rows, "steps_to_target", optimizer, look))
        for _, law in fits[fits["optimizer"] == optimizer].dropna(subset=["s_min"]).iterrows():
            _law(axes, rows, law, look["color"])
    _guide(axes, batches, "steps_to_target", -1.0)
    plots.titled(axes, f"{_whose(batches)}: steps to target", "global batch", "steps")
    return _logarithmic(axes, batches, ends, "dotted: perfect scaling", "mark: B_crit of the fit")


def rates(batches: pandas.DataFrame, optimizers: Sequence[str], axes: Axes) -> Axes:
    """Draw one framework's best peak rate at each batch; hollow where it lies at the edge of those that were tried."""
    ends = []
    for optimizer, look, rows in _arms(batches, optimizers):
        known = rows.dropna(subset=["steps_to_target"])
        axes.plot(known["global_batch"], known["best_rate"], color=look["color"], linewidth=1.2)
        edge = known["at_edge"] != ""
        axes.plot(known["global_batch"][~edge], known["best_rate"][~edge], linestyle="none", **look)
        axes.plot(
            known["global_batch"][edge], known["best_rate"][edge], linestyle="none", markerfacecolor="white", **look
        )
        ends.append(_end(known, "best_rate", optimizer, look))
    _guide(axes, batches, "best_rate", 1.0)
    _guide(axes, batches, "best_rate", 0.5, plots.DASHED)
    plots.titled(axes, f"{_whose(batches)}: best learning rate", "global batch", "peak rate")
    key = ["dotted: linear in the batch", "dashed: its square root"]
    key += ["hollow: at the edge of the grid"] if (batches["at_edge"] != "").any() else []
    return _logarithmic(axes, batches, ends, *key)


def throughput(speeds: pandas.DataFrame, axes: Axes) -> Axes:
    """Draw images a second against batch with 95 % intervals, a line a framework."""
    ends = []
    for framework, rows in speeds.groupby("framework"):
        look = {"color": plots.colour(framework), "marker": plots.marker(framework), "markersize": 4.5}
        rows = rows.sort_values("global_batch")
        _with_intervals(axes, rows, "images_per_second", look, line="-")
        ends.append(_end(rows, "images_per_second", plots.framework_name(framework), look))
    plots.titled(axes, "Throughput", "global batch", "images/s")
    return _logarithmic(axes, speeds, ends)


def seconds(batches: pandas.DataFrame, optimizers: Sequence[str], axes: Axes) -> Axes:
    """Draw one framework's seconds to target against batch: steps times batch over images a second."""
    ends = []
    for optimizer, look, rows in _arms(batches, optimizers):
        known = rows.dropna(subset=["seconds_to_target"])
        if len(known):
            _with_intervals(axes, known, "seconds_to_target", look, optimizers.index(optimizer), "-")
            ends.append(_end(known, "seconds_to_target", optimizer, look))
    plots.titled(axes, f"{_whose(batches)}: time to target", "global batch", "s")
    return _logarithmic(axes, batches, ends)


def _whose(batches: pandas.DataFrame) -> str:
    return plots.framework_name(batches["framework"].iloc[0])


def _arms(
    batches: pandas.DataFrame, optimizers: Sequence[str]
) -> Iterator[tuple[str, dict[str, Any], pandas.DataFrame]]:
    for place, optimizer in enumerate(optimizers):
        rows = batches[batches["optimizer"] == optimizer].sort_values("global_batch")
        colour, marker = LOOKS[place % len(LOOKS)]
        if rows["steps_to_target"].notna().any():
            yield optimizer, {"color": colour, "marker": marker, "markersize": 4.5}, rows


def _with_intervals(
    axes: Axes, rows: pandas.DataFrame, value: str, look: dict[str, Any], apart: int = 0, line: str = "none"
) -> None:
    known = rows.dropna(subset=[value])
    x = known["global_batch"] * (1 + APART * apart)
    plots.error_bars(axes, x, known, value, capsize=2.5, linewidth=1.2, linestyle=line, zorder=3, **look)


def _law(axes: Axes, rows: pandas.DataFrame, law: pandas.Series[Any], colour: str) -> None:
    """Draw S_min (1 + B_crit / B), or what is left of it where the batches do not hold its bend."""
    known = rows.dropna(subset=["steps_to_target"])["global_batch"]
    sizes = np.geomspace(known.min(), known.max(), 60)
    if not (law["s_min"] > 0 and 0 < law["b_crit"] < np.inf):
        return
    heights = law["s_min"] * (1 + law["b_crit"] / sizes)
    axes.plot(sizes, heights, color=colour, linewidth=1.2, zorder=2)
    if sizes[0] <= law["b_crit"] <= sizes[-1]:
        middle = 2 * law["s_min"]
        axes.plot([law["b_crit"]] * 2, [middle / 1.35, middle * 1.35], color=colour, linewidth=2.2, zorder=2)


def _guide(axes: Axes, batches: pandas.DataFrame, value: str, slope: float, line: Any = ":") -> None:
    """Draw a power law from the first point of the first arm, within the panel that the points take."""
    known = batches.dropna(subset=["steps_to_target", value]).sort_values("global_batch")
    if len(known) == 0:
        return
    sizes = np.geomspace(known["global_batch"].iloc[0], known["global_batch"].iloc[-1], 60)
    heights = known[value].iloc[0] * (sizes / sizes[0]) ** slope
    low, high = known[value].min() / 1.6, known[value].max() * 1.6
    inside = (heights >= low) & (heights <= high)
    axes.plot(sizes[inside], heights[inside], color=plots.FAINT, linestyle=line, linewidth=1.2, zorder=1)


def _end(rows: pandas.DataFrame, value: str, name: str, look: dict[str, Any]) -> plots.End:
    last = rows.dropna(subset=[value]).iloc[-1]
    return plots.End(float(last["global_batch"]), float(last[value]), name, look["color"], "-", look["marker"])


def _logarithmic(axes: Axes, batches: pandas.DataFrame, ends: Sequence[plots.End], *key: str) -> Axes:
    """Make both axes logarithmic, name batches and curves, and write the key below the names."""
    plots.logarithmic(axes, axes.yaxis)
    low, high = axes.get_ylim()
    wider = math.sqrt(max(1.0, LEAST_SPAN / (high / low)))
    axes.set_ylim(low / wider, high * wider)
    sizes = sorted({int(size) for size in batches["global_batch"]})
    plots.doubling(axes, sizes[:: -(-len(sizes) // 8)])
    plots.name_ends(axes, ends)
    return plots.remarks(axes, key)
