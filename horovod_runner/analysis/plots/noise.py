"""The gradient noise scale along training, and beside the critical batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas

from horovod_runner.analysis.load.groups import bounds
from horovod_runner.analysis.plots import look as plots
from horovod_runner.analysis.questions.noise import curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from horovod_runner.analysis.questions.critical import Critical
    from horovod_runner.analysis.questions.noise import Arm, Noise


MARKS: dict[str, Any] = {"markersize": 4.5, "markeredgecolor": "white", "markeredgewidth": 0.6}


def beside_critical(found: Critical) -> Figure:
    """Draw B_simple at each batch as points with intervals, and each framework's B_crit as a line in its band."""
    figure, (axes,) = plots.sheet(1, columns=1)
    ends = []
    batches = sorted({one.global_batch for one in found.found})
    several = len({one.arm.name for one in found.found}) > 1
    span = (batches[0] / 1.4, batches[-1] * 1.4)
    for place, framework in enumerate(sorted({one.arm.framework for one in found.found})):
        look, marker = plots.colour(framework), plots.marker(framework)
        own = [one for one in found.found if one.arm.framework == framework]
        rows = pandas.DataFrame([bounds("simple", one.simple) for one in own])
        x = [one.global_batch * (1 + 0.05 * place) for one in own]
        plots.error_bars(axes, x, rows, "simple", color=look, fmt=marker, markersize=5, capsize=3, zorder=3)
        for optimizer, critical in {one.arm.name: one.critical for one in own}.items():
            axes.plot(span, [critical.mean] * 2, color=look, linestyle=plots.line(place), linewidth=1.2)
            low, high = critical.ci95_low, critical.ci95_high
            if low and high and np.isfinite(high):
                axes.fill_between(span, low, high, color=look, alpha=0.1, linewidth=0)
            name = f"B_crit, {plots.framework_name(framework)}{f', {optimizer}' if several else ''}"
            ends.append(plots.End(span[1], critical.mean, name, look, plots.line(place), ""))
    plots.doubling(axes, batches)
    axes.set_xlim(*span)
    plots.logarithmic(axes, axes.yaxis)
    plots.titled(axes, "Points: B_simple on the way to the target", "batch at which the noise was measured", "examples")
    plots.name_ends(axes, ends)
    return figure


def figure_of(found: Noise) -> Figure:
    """Draw B_simple over the epochs on a logarithmic axis: a framework in its colour, each of its arms in its line.

    A curve is the ratio of averages over seeds, in a band from the least to the largest seed.
    """
    figure, (axes,) = plots.sheet(1, columns=1)
    ends = []
    arms = [arm for arm in found.arms if arm.runs]
    for place, arm in enumerate(arms):
        before = sum(other.framework == arm.framework for other in arms[:place])
        epochs, simple, bands = curve(arm.runs)
        look: dict[str, Any] = {"color": plots.colour(arm.framework), "linestyle": plots.line(before)}
        height = np.array([_positive(value) for value in simple])
        low, high = (np.array([_positive(band and band[side]) for band in bands]) for side in (0, 1))
        axes.plot(epochs, height, marker=plots.marker(arm.framework), linewidth=1.6, **MARKS, **look)
        axes.fill_between(epochs, low, high, color=look["color"], alpha=0.15, linewidth=0)
        known = np.flatnonzero(np.isfinite(height))
        if known.size:
            last = int(known[-1])
            ends.append(plots.End(epochs[last], float(height[last]), _name(arm), look["color"], look["linestyle"]))
    plots.logarithmic(axes, axes.yaxis)
    plots.titled(axes, "Gradient noise scale along training", "epoch", "B_simple (examples)")
    plots.name_ends(axes, ends)
    return figure


def _name(arm: Arm) -> str:
    others = "".join(f", {key.rpartition('.')[2]} {value}" for key, value in arm.settings.items())
    return f"{plots.framework_name(arm.framework)}, batch {arm.global_batch}{others}"


def _positive(value: float | None) -> float:
    """Return what a logarithmic axis can show."""
    return value if value is not None and value > 0 else float("nan")
