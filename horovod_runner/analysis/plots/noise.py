"""Curves and axes in, axes out: the gradient noise scale along training, and beside the critical batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.ticker import FuncFormatter, NullLocator

from horovod_runner.analysis.plots.look import (
    LINES,
    End,
    colour,
    framework_name,
    logarithmic,
    marker,
    name_ends,
    titled,
)
from horovod_runner.statistics.interval import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes


MARKS: dict[str, Any] = {"markersize": 4.5, "markeredgecolor": "white", "markeredgewidth": 0.6}


class Curve(NamedTuple):
    """An arm: B_simple at each epoch, and the least and largest seed's; None where an estimate is not positive."""

    framework: str
    name: str
    epochs: Sequence[float]
    simple: Sequence[float | None]
    bands: Sequence[tuple[float, float] | None]


class Level(NamedTuple):
    """B_simple of runs at one batch, and the B_crit of the fitted curve that they are set against."""

    framework: str
    optimizer: str
    global_batch: int
    simple: Interval
    critical: Interval


def against_critical(levels: Sequence[Level], axes: Axes) -> Axes:
    """Draw B_simple at each batch as points with intervals, and each framework's B_crit as a line in its band."""
    ends = []
    axes.set_xscale("log", base=2)
    batches = sorted({level.global_batch for level in levels})
    several = len({level.optimizer for level in levels}) > 1
    span = (batches[0] / 1.4, batches[-1] * 1.4)
    for place, framework in enumerate(sorted({level.framework for level in levels})):
        own, look = [level for level in levels if level.framework == framework], colour(framework)
        x = [level.global_batch * (1 + 0.05 * place) for level in own]
        mean = [level.simple.mean for level in own]
        reach = np.array([_reach(level.simple) for level in own]).T
        axes.errorbar(x, mean, yerr=reach, color=look, fmt=marker(framework), markersize=5, capsize=3, zorder=3)
        for optimizer, critical in {level.optimizer: level.critical for level in own}.items():
            axes.plot(span, [critical.mean] * 2, color=look, linestyle=LINES[place % len(LINES)], linewidth=1.2)
            low, high = critical.ci95_low, critical.ci95_high
            if low and high and np.isfinite(high):
                axes.fill_between(span, low, high, color=look, alpha=0.1, linewidth=0)
            name = f"B_crit, {framework_name(framework)}{f', {optimizer}' if several else ''}"
            ends.append(End(span[1], critical.mean, name, look, LINES[place % len(LINES)], ""))
    axes.set_xlim(*span)
    axes.set_xticks(batches)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    logarithmic(axes, axes.yaxis)
    titled(axes, "Points: B_simple on the way to the target", "batch at which the noise was measured", "examples")
    return name_ends(axes, ends)


def _reach(interval: Interval) -> tuple[float, float]:
    mean, low, high = interval.mean, interval.ci95_low, interval.ci95_high
    return 0.0 if low is None else mean - low, 0.0 if high is None else high - mean


def along_training(curves: Sequence[Curve], axes: Axes) -> Axes:
    """Draw B_simple over the epochs on a logarithmic axis, a framework in its colour, each of its arms in its line."""
    ends = []
    for place, curve in enumerate(curves):
        before = sum(other.framework == curve.framework for other in curves[:place])
        look: dict[str, Any] = {"color": colour(curve.framework), "linestyle": LINES[before % len(LINES)]}
        height = np.array([_positive(value) for value in curve.simple])
        low, high = (np.array([_positive(band and band[side]) for band in curve.bands]) for side in (0, 1))
        axes.plot(curve.epochs, height, marker=marker(curve.framework), linewidth=1.6, **MARKS, **look)
        axes.fill_between(curve.epochs, low, high, color=look["color"], alpha=0.15, linewidth=0)
        known = np.flatnonzero(np.isfinite(height))
        if known.size:
            last = int(known[-1])
            ends.append(End(curve.epochs[last], float(height[last]), curve.name, look["color"], look["linestyle"]))
    logarithmic(axes, axes.yaxis)
    titled(axes, "Gradient noise scale along training", "epoch", "B_simple (examples)")
    return name_ends(axes, ends)


def _positive(value: float | None) -> float:
    """Return what a logarithmic axis can show."""
    return value if value is not None and value > 0 else float("nan")
