"""The gradient noise scale along training, and beside the critical batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
    sheet,
    titled,
)
from horovod_runner.analysis.questions.noise import curve
from horovod_runner.statistics.interval import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from horovod_runner.analysis.questions.critical import Critical
    from horovod_runner.analysis.questions.noise import Arm, Noise


MARKS: dict[str, Any] = {"markersize": 4.5, "markeredgecolor": "white", "markeredgewidth": 0.6}


def beside_critical(found: Critical) -> Figure:
    """Draw B_simple at each batch as points with intervals, and each framework's B_crit as a line in its band."""
    figure, (axes,) = sheet(1, columns=1)
    ends = []
    axes.set_xscale("log", base=2)
    batches = sorted({one.global_batch for one in found.found})
    several = len({one.arm.name for one in found.found}) > 1
    span = (batches[0] / 1.4, batches[-1] * 1.4)
    for place, framework in enumerate(sorted({one.arm.framework for one in found.found})):
        own, look = [one for one in found.found if one.arm.framework == framework], colour(framework)
        x = [one.global_batch * (1 + 0.05 * place) for one in own]
        mean = [one.simple.mean for one in own]
        reach = np.array([_reach(one.simple) for one in own]).T
        axes.errorbar(x, mean, yerr=reach, color=look, fmt=marker(framework), markersize=5, capsize=3, zorder=3)
        for optimizer, critical in {one.arm.name: one.critical for one in own}.items():
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
    name_ends(axes, ends)
    return figure


def _reach(interval: Interval) -> tuple[float, float]:
    mean, low, high = interval.mean, interval.ci95_low, interval.ci95_high
    return 0.0 if low is None else mean - low, 0.0 if high is None else high - mean


def figure_of(found: Noise) -> Figure:
    """Draw B_simple over the epochs on a logarithmic axis: a framework in its colour, each of its arms in its line.

    A curve is the ratio of averages over seeds, in a band from the least to the largest seed.
    """
    figure, (axes,) = sheet(1, columns=1)
    ends = []
    arms = [arm for arm in found.arms if arm.runs]
    for place, arm in enumerate(arms):
        before = sum(other.framework == arm.framework for other in arms[:place])
        epochs, simple, bands = curve(arm.runs)
        look: dict[str, Any] = {"color": colour(arm.framework), "linestyle": LINES[before % len(LINES)]}
        height = np.array([_positive(value) for value in simple])
        low, high = (np.array([_positive(band and band[side]) for band in bands]) for side in (0, 1))
        axes.plot(epochs, height, marker=marker(arm.framework), linewidth=1.6, **MARKS, **look)
        axes.fill_between(epochs, low, high, color=look["color"], alpha=0.15, linewidth=0)
        known = np.flatnonzero(np.isfinite(height))
        if known.size:
            last = int(known[-1])
            ends.append(End(epochs[last], float(height[last]), _name(arm), look["color"], look["linestyle"]))
    logarithmic(axes, axes.yaxis)
    titled(axes, "Gradient noise scale along training", "epoch", "B_simple (examples)")
    name_ends(axes, ends)
    return figure


def _name(arm: Arm) -> str:
    others = "".join(f", {key.rpartition('.')[2]} {value}" for key, value in arm.settings.items())
    return f"{framework_name(arm.framework)}, batch {arm.global_batch}{others}"


def _positive(value: float | None) -> float:
    """Return what a logarithmic axis can show."""
    return value if value is not None and value > 0 else float("nan")
