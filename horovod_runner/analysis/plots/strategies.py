"""Table and axes in, axes out: strategies gradients side by side, in the look of `plots`.

`variants` has a row a framework and variant, in the order to draw them from the top: `framework`, `variant`, `step`,
`low` and `high` (seconds, bounds missing below three runs), and `compute_only`, the slowest compute-only worker's step,
missing where nobody measured it. Seconds are drawn as milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import FixedLocator, MaxNLocator

from horovod_runner.analysis.plots import look as plots

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

PHASES = {  # from the axis outwards, as allreduce.timeline names them: words, colour
    "reducing": ("reducing", "#cc79a7"),
    "copying": ("copying", "#e6c700"),
    "negotiating": ("negotiating", "#009e73"),
    "waiting": ("waiting", "#56b4e9"),
    "queueing": ("queueing", "#b9bcc1"),
}
NAMES_WIDTH = 0.16  # of a panel, that names of variants take from the room on the right
KEY_AT = 1.06  # of the axes' width
THICKEST = 0.3  # bar, of the distance between two variants


def steps(variants: pandas.DataFrame, workers: int, axes: Axes) -> Axes:
    """Draw a step's milliseconds by variant with its interval, and a line for each framework's compute-only workers."""
    places = _places(variants, axes)
    for framework, rows in variants.groupby("framework"):
        heights = [places[framework, name] for name in rows["variant"]]
        look: dict[str, Any] = {"color": plots.colour(framework), "marker": plots.marker(framework), "markersize": 5}
        plots.error_bars(axes, heights, rows, "step", lying=True, capsize=3, linewidth=1.2, linestyle="none", **look)
        for step in rows["compute_only"].dropna()[:1]:
            axes.axvline(step, color=plots.colour(framework), linestyle=plots.DASHED, linewidth=1.2)
    plots.titled(axes, f"Strategies, {workers} workers", "ms a step")
    axes.set_xlim(left=0)
    dashed = ["dashed:", "compute-only", "workers"] if variants["compute_only"].any() else []
    return plots.key(axes, plots.framework_key(variants["framework"]), dashed, KEY_AT)


def breakdown(variants: pandas.DataFrame, workers: int, axes: Axes) -> Axes:
    """Draw the step breakdown by Horovod's timeline, a bar a framework and variant, up to a tick at the step's end.

    `variants` has `framework`, `variant`, `step` and a column of seconds for each of PHASES.
    """
    places = _places(variants, axes)
    height = min(THICKEST, 0.8 * _spacing(places))
    for row in variants.to_dict("records"):
        y, left = places[row["framework"], row["variant"]], 0.0
        for phase, (_, shade) in PHASES.items():
            width = 1000 * row[phase]
            axes.barh(y, width, left=left, height=height, color=shade, linewidth=0)
            left += width
        step = 1000 * row["step"]
        axes.plot([left, step], [y, y], color=plots.FAINT, linewidth=0.8)
        shade, shape = plots.colour(row["framework"]), plots.marker(row["framework"])
        axes.plot([step], [y], marker=shape, color=shade, markersize=5, linestyle="none")
    plots.titled(axes, f"A step of rank 0, {workers} workers", "ms a step")
    axes.use_sticky_edges = False
    axes.margins(x=0.05)
    axes.set_xlim(left=0)
    entries = [(words, shade, "s") for words, shade in PHASES.values()]
    return plots.key(axes, entries + plots.framework_key(variants["framework"]), at=KEY_AT)


def _places(variants: pandas.DataFrame, axes: Axes) -> dict[tuple[str, str], float]:
    """Name the variants at the left, from the top, and return where each framework's mark stands."""
    names, frameworks = list(dict.fromkeys(variants["variant"])), sorted(set(variants["framework"]))
    box = axes.get_position()
    panel = box.width / (1 - plots.MARGINS["left"] - plots.MARGINS["right"])
    axes.set_position((box.x0 + NAMES_WIDTH * panel, box.y0, box.width, box.height))
    axes.yaxis.set_major_locator(FixedLocator(range(len(names))))
    axes.set_yticklabels([name.replace(", ", "\n", 1) for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_label_coords(0.14, -0.12)  # the sheet's own line stands below on the right
    apart = 0.8 / len(frameworks)
    first = -apart * (len(frameworks) - 1) / 2
    return {(f, name): names.index(name) + first + apart * frameworks.index(f) for f in frameworks for name in names}


def _spacing(places: Mapping[tuple[str, str], float]) -> float:
    """Return the distance between two neighbouring marks of a variant."""
    return 0.8 / len({framework for framework, _ in places})
