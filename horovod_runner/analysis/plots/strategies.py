"""Table and axes in, axes out: strategies gradients side by side, in the look of `plots`.

`variants` has a row a framework and variant, in the order to draw them from the top: `framework`, `variant`, `step`,
`low` and `high` (seconds, bounds missing below three runs), and `compute_only`, the slowest compute-only worker's step,
missing where nobody measured it. Seconds are drawn as milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import FixedLocator, MaxNLocator

from horovod_runner.analysis.plots.look import DASHED, FAINT, INK, MARGINS, colour, framework_name, marker, titled

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
        for row in rows.itertuples():
            y, mean = places[row.framework, row.variant], 1000 * row.step
            bars = [[mean - 1000 * _or(row.low, row.step)], [1000 * _or(row.high, row.step) - mean]]
            look: dict[str, Any] = {"color": colour(framework), "marker": marker(framework), "markersize": 5}
            axes.errorbar([mean], [y], xerr=bars, capsize=3, linewidth=1.2, linestyle="none", **look)
        compute_only = rows["compute_only"].dropna()
        if len(compute_only):
            axes.axvline(1000 * float(compute_only.iloc[0]), color=colour(framework), linestyle=DASHED, linewidth=1.2)
    titled(axes, f"Strategies, {workers} workers", "ms a step")
    axes.set_xlim(left=0)
    entries = [(framework_name(name), colour(name), marker(name)) for name in sorted(set(variants["framework"]))]
    return _key(
        axes,
        entries,
        ["dashed: compute-only", "workers, which", "only compute"] if variants["compute_only"].any() else [],
    )


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
        axes.plot([left, step], [y, y], color=FAINT, linewidth=0.8)
        shade, shape = colour(row["framework"]), marker(row["framework"])
        axes.plot([step], [y], marker=shape, color=shade, markersize=5, linestyle="none")
    titled(axes, f"A step of rank 0, {workers} workers", "ms a step")
    axes.use_sticky_edges = False
    axes.margins(x=0.05)
    axes.set_xlim(left=0)
    entries = [(words, shade, "s") for words, shade in PHASES.values()]
    entries += [(framework_name(name), colour(name), marker(name)) for name in sorted(set(variants["framework"]))]
    return _key(axes, entries, [])


def _places(variants: pandas.DataFrame, axes: Axes) -> dict[tuple[str, str], float]:
    """Name the variants at the left, from the top, and return where each framework's mark stands."""
    names, frameworks = list(dict.fromkeys(variants["variant"])), sorted(set(variants["framework"]))
    box = axes.get_position()
    panel = box.width / (1 - MARGINS["left"] - MARGINS["right"])
    axes.set_position((box.x0 + NAMES_WIDTH * panel, box.y0, box.width, box.height))
    axes.yaxis.set_major_locator(FixedLocator(range(len(names))))
    axes.set_yticklabels([name.replace(", ", "\n", 1) for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    apart = 0.8 / len(frameworks)
    first = -apart * (len(frameworks) - 1) / 2
    return {(f, name): names.index(name) + first + apart * frameworks.index(f) for f in frameworks for name in names}


def _spacing(places: Mapping[tuple[str, str], float]) -> float:
    """Return the distance between two neighbouring marks of a variant."""
    return 0.8 / len({framework for framework, _ in places})


def _or(value: float | None, instead: float) -> float:
    return instead if value is None or value != value else value


def _key(axes: Axes, entries: list[tuple[str, str, str]], notes: list[str]) -> Axes:
    """Write what marks mean (text, colour, marker), and notes below, right of the axes."""
    axes.xaxis.set_label_coords(0.14, -0.12)  # the sheet's own line stands below on the right
    for place, (text, shade, shape) in enumerate(entries):
        y = 0.96 - 0.1 * place
        look: dict[str, Any] = {"color": shade, "linestyle": "none", "transform": axes.transAxes, "clip_on": False}
        axes.plot([KEY_AT], [y], marker=shape, markersize=6, **look)
        axes.text(KEY_AT + 0.04, y, text, color=INK, fontsize=8, va="center", transform=axes.transAxes)
    for place, text in enumerate(notes, start=len(entries)):
        y = 0.96 - 0.1 * place
        axes.text(KEY_AT - 0.02, y, text, color=INK, fontsize=8, va="center", transform=axes.transAxes)
    return axes
