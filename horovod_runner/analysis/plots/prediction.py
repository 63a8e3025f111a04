"""Predictions as figures: what was measured, what was predicted with its interval, and what was never seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from horovod_runner.analysis.plots import look as plots
from horovod_runner.prediction.ladder import Ladder
from horovod_runner.prediction.nulls import TITLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from horovod_runner.analysis.questions.prediction import Prediction
    from horovod_runner.analysis.report.prediction import Told

PREDICTED = "#0072b2"
NULL_LINES = dict(zip(TITLES, ((0, (1, 1.4)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 3))), strict=True))


def of_ladders(ladders: Sequence[Ladder]) -> Figure:
    """Return a panel a ladder: images a second of a worker over those of the smallest size."""
    figure, axes = plots.sheet(len(ladders))
    for place, one in zip(axes, ladders, strict=True):
        ladder(one, place)
    return figure


def ladder(made: Ladder, axes: Axes) -> Axes:
    """Draw one ladder; full points were fitted, hollow ones were never seen, and bars are intervals."""
    workers = np.array([one.rung.workers for one in made.judged])
    per_worker = np.array([one.rung.images_per_second for one in made.judged]) / workers
    unit = per_worker[0]
    ends = []
    if made.fitted is not None:
        intervals = [one.images_per_second for one in made.judged if one.images_per_second]
        middle, low, high = (
            np.array([getattr(interval, name) for interval in intervals], float) / workers / unit
            for name in ("mean", "ci95_low", "ci95_high")
        )
        axes.fill_between(workers, low, high, color=PREDICTED, alpha=0.15, linewidth=0)
        axes.plot(workers, middle, color=PREDICTED, linestyle=plots.DASHED, linewidth=1.4)
        ends.append(plots.End(workers[-1], middle[-1], "predicted, 95 %", PREDICTED, plots.DASHED))
        for name, title in TITLES.items():
            rates = [(one.nulls or {}).get(name) for one in made.judged]
            if None not in rates:
                heights = np.array(rates, float) / workers / unit
                axes.plot(workers, heights, color=plots.FAINT, linestyle=NULL_LINES[name], linewidth=1.0)
                ends.append(plots.End(workers[-1], heights[-1], title, plots.FAINT, NULL_LINES[name]))
    seen = np.array([one.rung.use == "fit" for one in made.judged])
    axes.plot(workers[seen], per_worker[seen] / unit, "o", color=plots.INK, markersize=5, zorder=4)
    axes.plot(
        workers[~seen], per_worker[~seen] / unit, "o", color=plots.INK, markerfacecolor="white", markersize=6, zorder=4
    )
    plots.titled(axes, f"{made.file.stem}: {made.model}", "workers", "images/s a worker, over the first")
    plots.worker_ticks(axes, [int(count) for count in workers])
    axes.set_ylim(0, max(1.1, axes.get_ylim()[1]))
    plots.name_ends(axes, ends)
    return plots.remarks(axes, ["full points: fitted", "hollow: never seen"] if made.fitted else ["shown, not scored"])


def of_studies(told: Sequence[Told]) -> Figure:
    """Return a panel a forecast: its speedup, or images a second where one worker was not measured."""
    figure, axes = plots.sheet(len(told))
    for place, one in zip(axes, told, strict=True):
        study(one, place)
    return figure


def figure_of(found: Prediction) -> Figure:
    """Return the figure of a finding."""
    return of_studies(found.told)


def study(one: Told, axes: Axes) -> Axes:
    """Draw images a second: dashed and in a band what is predicted, points what was measured, dotted the ideal."""
    colour = plots.colour(one.of.framework)
    workers = [point.workers for point in one.predictions]
    intervals = [point.images_per_second for point in one.predictions]
    middle, low, high = ([getattr(each, name) for each in intervals] for name in ("mean", "ci95_low", "ci95_high"))
    ideal = [point.images_per_second.mean / point.efficiency.mean for point in one.predictions]
    axes.plot(workers, ideal, color=plots.FAINT, linestyle=":", linewidth=1.2)
    axes.fill_between(workers, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(workers, middle, color=colour, linestyle=plots.DASHED, linewidth=1.4)
    shown = {count: rate for count, rate in one.of.measured.items() if workers[0] <= count <= workers[-1]}
    for count, rate in shown.items():
        axes.plot([count], [rate.mean], plots.marker(one.of.framework), color=colour, markersize=6, zorder=4)
        if rate.ci95_low is not None and rate.ci95_high is not None:
            axes.plot([count] * 2, [rate.ci95_low, rate.ci95_high], color=colour, linewidth=1.2, zorder=3)
    axes.set_xscale("log", base=2)
    plots.logarithmic(axes, axes.yaxis)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    plots.titled(axes, one.short, "workers", "images/s")
    ends = [
        plots.End(workers[-1], ideal[-1], "ideal", plots.FAINT, ":"),
        plots.End(workers[-1], middle[-1], "predicted, 95 %", colour, plots.DASHED),
    ]
    if shown:
        ends.append(
            plots.End(max(shown), shown[max(shown)].mean, "measured", colour, "none", plots.marker(one.of.framework))
        )
    plots.name_ends(axes, ends)
    return plots.remarks(axes, [one.how.replace(", ", ",\n")])
