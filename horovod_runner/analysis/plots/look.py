"""Table and axes in, axes out: every figure of the suite, in one look.

A framework has its colour (safe for colour-blind readers: Okabe & Ito, "Color Universal Design", 2008) and its marker,
a number of workers its line style, so that print without colour still tells them apart; curves are named at their ends.
Tables are pandas DataFrames as `tables.epochs` and `tables.cells` give them. Nothing here touches pyplot or a file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from horovod_runner.config.frameworks import FRAMEWORKS, PAIR
from horovod_runner.config.frameworks import title as framework_name
from horovod_runner.statistics.interval import Interval

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

INK, FAINT = "#333333", "#9a9a9a"
RULES = {
    "none": "rate not scaled",
    "linear_workers": "rate × workers",
    "linear_samples": "rate × batch",
    "sqrt_workers": "rate × √workers",
    "sqrt_samples": "rate × √batch",
}
OTHER_MARKER = "^"
OTHER_COLOURS = ("#009e73", "#cc79a7", "#56b4e9")
LEAST_LACK = 1e-4  # what a logarithmic axis shows of a metric of 1
DASHED: Any = (0, (5, 2))
LINES: tuple[Any, ...] = ("-", DASHED, (0, (1, 1.4)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)))
TITLES = {"train_loss": "Training loss", "val_loss": "Validation loss", "val_metric": "Validation metric"}
PANEL_INCHES = (5.0, 3.1)
MARGINS = {"left": 0.132, "right": 0.4, "bottom": 0.16, "top": 0.11}  # of a panel; names stand on the right
RATE_BOUNDS = ("images_per_second_ci95_low", "images_per_second_ci95_high")
NAME_GAP = 0.085  # of the axes' height, between names at the ends of curves

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": FAINT,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "axes.facecolor": "none",
    "figure.facecolor": "white",
    "svg.fonttype": "none",  # text stays text: it can be searched, copied, and takes the page's colour
    "svg.hashsalt": "horovod-runner",  # the same figure is the same file
}


class End(NamedTuple):
    """Where a curve ends, and how it is named there."""

    x: float
    y: float
    name: str
    colour: str
    line: Any
    marker: str = ""


def sheet(panels: int, columns: int = 2) -> tuple[Figure, list[Axes]]:
    """Return a figure with so many panels in the suite's look, and their axes."""
    rows = -(-panels // columns)
    with matplotlib.rc_context(STYLE):  # text and lines are styled as they are made: see titled and _curve
        figure = Figure(figsize=(PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows))
        axes = [figure.add_axes(_place(index, columns, rows)) for index in range(panels)]
    return figure, axes


def curves(table: pandas.DataFrame, axes: Axes, value: str) -> Axes:
    """Draw `train_loss`, `val_loss` or `val_metric` over the epochs, a curve a framework and number of workers.

    Of several runs (seeds, repeats) the mean is drawn, in a band from the least to the largest.
    """
    ends = []
    known = table.dropna(subset=[value])
    for (framework, workers), rows in known.groupby(["framework", "workers"]):
        look = {"color": colour(framework), "linestyle": _line(workers, known), "marker": marker(framework)}
        ends.append(_curve(axes, rows, value, f"{framework_name(framework)}, {named_workers(workers)}", look))
    titled(axes, _title(value, known), "epoch")
    whole_numbers(axes)
    return name_ends(axes, ends)


def steps(table: pandas.DataFrame, axes: Axes) -> Axes:
    """Draw the training loss of every step over the epochs, a curve a framework and number of workers.

    `table` has the columns of `tables.steps`. Curves are running means over a twentieth of the run, since the loss of a
    single batch jumps about. Of several runs the mean is drawn, in a band from the least to the largest.
    """
    ends = []
    for (framework, workers), rows in table.groupby(["framework", "workers"]):
        look = {"color": colour(framework), "linestyle": _line(workers, table), "marker": ""}
        smooth = rows.assign(train_loss=rows.groupby("run_id")["train_loss"].transform(_running_mean))
        smooth["epoch"] = rows["step"] / (rows["step"] / rows["epoch"]).max()
        ends.append(_curve(axes, smooth, "train_loss", f"{framework_name(framework)}, {named_workers(workers)}", look))
    titled(axes, "Training loss, every step", "epoch")
    whole_numbers(axes)
    return name_ends(axes, ends)


def _running_mean(losses: pandas.Series[float]) -> pandas.Series[float]:
    return losses.rolling(max(1, len(losses) // 20), min_periods=1).mean()


def difference(table: pandas.DataFrame, axes: Axes, value: str, of: tuple[str, str] = PAIR) -> Axes:
    """Draw the first framework's figure minus the second's against the epoch, a curve for each number of workers.

    Runs are paired by seed and repeat; of several pairs the mean is drawn, in a band from the least to the largest.
    """
    ends = []
    parted = pair(table, value, of)
    axes.axhline(0, color=FAINT, linewidth=1)
    for workers, rows in parted.groupby("workers"):
        look = {"color": INK, "linestyle": _line(workers, parted), "marker": "D"}
        ends.append(_curve(axes, rows, "difference", named_workers(workers), look))
    first, second = (framework_name(framework) for framework in of)
    power = _power_of_ten(parted["difference"])
    titled(axes, f"{_title(value, table)}: {first} − {second}", "epoch", "" if power == 1 else f"× {power:g}")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda height, _: f"{height / power:g}"))
    whole_numbers(axes)
    return name_ends(axes, ends)


def _power_of_ten(values: pandas.Series[float]) -> float:
    """Return what small numbers are divided by on an axis, where they would be too long to write; or else 1."""
    largest = float(values.abs().max())
    if not 0 < largest < 0.03:
        return 1.0
    return float(10.0 ** math.floor(math.log10(largest)))


def pair(table: pandas.DataFrame, value: str, of: tuple[str, str] = PAIR) -> pandas.DataFrame:
    """Return the rows of `difference`: workers, seed, repeat, epoch, and the difference."""
    keys = ["workers", "seed", "repeat", "epoch"]
    first, second = (table[table["framework"] == name].dropna(subset=[value])[[*keys, value]] for name in of)
    both = first.merge(second, on=keys, suffixes=("_first", "_second"))
    return both.assign(difference=both[f"{value}_first"] - both[f"{value}_second"])[[*keys, "difference"]]


def throughput(table: pandas.DataFrame, axes: Axes) -> Axes:
    """Draw images per second against workers, and N times the same framework's one worker; intervals (95 %) over runs.

    `table` has the columns of `tables.cells`, of one job and strong or weak scaling.
    """
    known = table.dropna(subset=["images_per_second"])
    names = list(dict.fromkeys(known["framework"]))
    ends = []
    for place, framework in enumerate(names):
        rows = known[known["framework"] == framework].sort_values("workers")
        apart = 1 + 0.03 * (place - (len(names) - 1) / 2)  # so that intervals do not cover each other
        look: dict[str, Any] = {"color": colour(framework), "marker": marker(framework), "markersize": 4.5}
        several = rows["completed_runs"] > 1  # an interval from within a run says nothing of the next one: no error bar
        rows = rows.assign(**{bound: rows[bound].where(several) for bound in RATE_BOUNDS})
        error_bars(axes, rows["workers"] * apart, rows, "images_per_second", capsize=3, linewidth=1.2, **look)
        x, y = rows["workers"].iloc[-1] * apart, rows["images_per_second"].iloc[-1]
        ends.append(End(x, y, framework_name(framework), colour(framework), "-"))
    ends += _ideal_lines(known, axes)
    titled(axes, "Throughput, all workers together", "workers", "images/s")
    axes.set_ylim(bottom=0)
    worker_ticks(axes, sorted(set(known["workers"])))
    return name_ends(axes, ends)


def _place(index: int, columns: int, rows: int) -> tuple[float, float, float, float]:
    """Return a panel's axes within the figure. Margins are fixed: a computed layout costs as much as the drawing."""
    row, column = divmod(index, columns)
    left, bottom = column + MARGINS["left"], rows - 1 - row + MARGINS["bottom"]
    width, height = 1 - MARGINS["left"] - MARGINS["right"], 1 - MARGINS["bottom"] - MARGINS["top"]
    return left / columns, bottom / rows, width / columns, height / rows


def _curve(axes: Axes, rows: pandas.DataFrame, value: str, name: str, look: dict[str, Any]) -> End:
    over = rows.groupby("epoch")[value].agg(["mean", "min", "max"])
    marks = (
        {"markersize": 4.5, "markeredgecolor": "white", "markeredgewidth": 0.6} if len(over) <= 20 else {"marker": ""}
    )
    axes.plot(over.index, over["mean"], **{**look, "linewidth": 1.6, **marks})
    if (over["max"] > over["min"]).any():
        axes.fill_between(over.index, over["min"], over["max"], color=look["color"], alpha=0.15, linewidth=0)
    return End(float(over.index[-1]), float(over["mean"].iloc[-1]), name, look["color"], look["linestyle"])


def _ideal_lines(known: pandas.DataFrame, axes: Axes) -> list[End]:
    """Draw what N times one worker would make, where one worker was measured and more than one too."""
    ends = []
    for framework, rows in known.groupby("framework"):
        one, most = rows[rows["workers"] == 1], int(rows["workers"].max())
        if len(one) == 0 or most == 1:
            continue
        ideal = float(one["images_per_second"].iloc[0])
        counts = sorted({1, most, *rows["workers"]})
        axes.plot(counts, [ideal * n for n in counts], color=colour(framework), linestyle=":", linewidth=1)
        ends.append(End(most, ideal * most, f"{most} × {framework_name(framework)}'s 1 worker", colour(framework), ":"))
    return ends


def worker_ticks(axes: Axes, counts: Sequence[int]) -> None:
    """Put numbers of workers, and nothing else, on an axis on which doubling is a step."""
    doubling(axes, counts)
    axes.set_xlim(min(counts, default=1) / 1.15, max(counts, default=1) * 1.15)


def doubling(axes: Axes, sizes: Sequence[int]) -> None:
    """Put these numbers on the horizontal axis, on which doubling is a step."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(sizes))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def whole_numbers(axes: Axes) -> None:
    """Put whole numbers alone on the horizontal axis."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def error_bars(axes: Axes, x: Any, rows: pandas.DataFrame, value: str, lying: bool = False, **look: Any) -> None:
    """Draw a column of a table with its 95 % intervals (`<value>_ci95_low`, `_ci95_high`), as far as these are known.

    `lying`: from left to right, at the heights `x`.
    """
    mean = rows[value].astype(float)
    low, high = (rows[f"{value}_ci95_{end}"].astype(float).fillna(mean) for end in ("low", "high"))
    reach = [(mean - low).clip(lower=0), (high - mean).clip(lower=0).replace(math.inf, 0)]
    if lying:
        axes.errorbar(mean, x, xerr=reach, **look)
    else:
        axes.errorbar(x, mean, yerr=reach, **look)


def key(axes: Axes, entries: Sequence[tuple[str, str, str]], notes: Sequence[str] = (), at: float = 1.08) -> Axes:
    """Write what marks mean (text, colour, marker), and notes below them, right of the axes, from the top."""
    for place, (_, shade, shape) in enumerate(entries):
        look: dict[str, Any] = {"color": shade, "linestyle": "none", "transform": axes.transAxes, "clip_on": False}
        axes.plot([at], [0.95 - 0.1 * place], marker=shape, markersize=6, **look)
    for place, text in enumerate([*(entry[0] for entry in entries), *notes]):
        left = at + 0.04 if place < len(entries) else at - 0.02
        _beside(axes, left, 0.95 - 0.1 * place, text, INK, 8.5)
    return axes


def framework_key(names: Iterable[str]) -> list[tuple[str, str, str]]:
    """Return the entries of a key for frameworks."""
    return [(framework_name(name), colour(name), marker(name)) for name in sorted(set(names))]


def remarks(axes: Axes, texts: Sequence[str]) -> Axes:
    """Write what lines and rings mean, faintly, below the names of curves."""
    for place, text in enumerate(texts):
        _beside(axes, 1.04, -0.06 - 0.073 * place, text, FAINT, 8)
    return axes


def _beside(axes: Axes, left: float, height: float, text: str, shade: str, size: float) -> None:
    axes.text(left, height, text, color=shade, fontsize=size, va="center", transform=axes.transAxes)


def grid(rows: int, columns: int, inches: tuple[float, float], sharey: Any = False) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure of small panels of this size in rows and columns, with room for a legend at its foot."""
    width, height = max(2, columns) * inches[0], rows * inches[1] + 0.5
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        axes = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
    figure.subplots_adjust(
        left=0.75 / width, right=1 - 0.2 / width, bottom=0.95 / height, top=1 - 0.4 / height, wspace=0.2, hspace=0.5
    )
    return figure, [list(row) for row in axes]


def legend(figure: Figure, entries: Sequence[tuple[str, str, Any]], columns: int | None = None) -> None:
    """Write what lines mean (text, colour, line) at the foot of a figure."""
    handles = [Line2D([], [], color=shade, linestyle=line, label=text) for text, shade, line in entries]
    columns = min(columns or len(handles), len(handles))
    figure.legend(handles=handles, loc="lower center", ncols=columns, frameon=False, fontsize=8.5)


def lack(metric: float) -> float:
    """Return what a metric lacks of 1, no less than what a logarithmic axis is to show."""
    return max(LEAST_LACK, 1 - metric)


def lacking(metric: Interval) -> Interval:
    """Return the same of a metric with its interval."""
    low, high = (None if bound is None else lack(bound) for bound in (metric.ci95_high, metric.ci95_low))
    return Interval(lack(metric.mean), low, high)


def logarithmic(axes: Axes, axis: Axis) -> None:
    """Make one of the axes logarithmic, with plain numbers at 1, 2 and 5: 5000, and then 10k."""
    (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value < 9999 else f"{value / 1000:g}k"))
    axis.set_minor_locator(NullLocator())


def titled(axes: Axes, title: str, below: str, beside: str = "") -> Axes:
    """Give a panel its title and the names of its axes."""
    axes.set_title(title, loc="left", y=1.03, fontsize=10, fontweight="bold", color=INK)
    axes.set_xlabel(below, fontsize=9)
    axes.set_ylabel(beside, fontsize=9)
    return axes


def name_ends(axes: Axes, ends: Sequence[End]) -> Axes:
    """Write each curve's name, with a piece of its line, right of where it ends, moved apart where names would meet."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    in_panel = axes.transScale + axes.transLimits
    heights = _moved_apart([float(in_panel.transform((end.x, end.y))[1]) for end in ends])
    leader = {"arrowstyle": "-", "color": FAINT, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
    for end, height in zip(ends, heights, strict=True):
        axes.annotate("", xy=(end.x, end.y), xytext=(1.04, height), textcoords="axes fraction", arrowprops=leader)
        sample = {"color": end.colour, "linestyle": end.line, "linewidth": 1.6, "transform": axes.transAxes}
        axes.plot([1.04, 1.14], [height, height], clip_on=False, **sample)
        if end.marker:
            axes.plot([1.09], [height], end.marker, markersize=4.5, clip_on=False, **sample)
        axes.text(1.16, height, end.name, color=end.colour, fontsize=8.5, va="center", transform=axes.transAxes)
    return axes


def _moved_apart(heights: Sequence[float]) -> list[float]:
    """Return heights in the same order, at least NAME_GAP apart, about as high, and within 0 to 1 if there is room."""
    order = sorted(range(len(heights)), key=heights.__getitem__)
    placed = list(heights)
    for lower, upper in pairwise(order):
        placed[upper] = max(placed[upper], placed[lower] + NAME_GAP)
    down = (sum(placed) - sum(heights)) / max(1, len(heights))
    down = min(max(down, max(placed, default=0) - 1), min(placed, default=0))
    return [height - down for height in placed]


def _title(value: str, table: pandas.DataFrame) -> str:
    if value == "val_metric" and len(table) and table["metric"].notna().any():
        return f"Validation {table['metric'].dropna().iloc[0].replace('_', ' ')}"
    return TITLES[value]


def rule_name(rule: str) -> str:
    """Return how a rule of scaling the learning rate is written."""
    return RULES.get(rule, rule)


def colour(framework: str) -> str:
    """Return a framework's colour."""
    if framework in FRAMEWORKS:
        return FRAMEWORKS[framework].colour
    return OTHER_COLOURS[sum(framework.encode()) % len(OTHER_COLOURS)]


def marker(framework: str) -> str:
    """Return a framework's marker."""
    return FRAMEWORKS[framework].marker if framework in FRAMEWORKS else OTHER_MARKER


def line(place: int) -> Any:
    """Return the style of a curve among several."""
    return LINES[place % len(LINES)]


def _line(workers: int, table: pandas.DataFrame) -> Any:
    return line(sorted(set(table["workers"])).index(workers))


def named_workers(workers: int) -> str:
    """Return `1 worker`, `2 workers`."""
    return "1 worker" if workers == 1 else f"{workers} workers"
