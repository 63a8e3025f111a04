"""Curves and axes in, axes out: the gradient noise scale along training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from horovod_runner.analysis.plots import LINES, End, colour, marker, name_ends, titled

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


def along_training(curves: Sequence[Curve], axes: Axes) -> Axes:
    """Draw B_simple over the epochs on a logarithmic axis, a framework in its colour, each of its arms in its line."""
    ends = []
    axes.set_yscale("log")
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
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    titled(axes, "Gradient noise scale along training", "epoch", "B_simple (examples)")
    return name_ends(axes, ends)


def _positive(value: float | None) -> float:
    """Return what a logarithmic axis can show."""
    return value if value is not None and value > 0 else float("nan")
