"""The forest plot: a difference a line with its interval, and nothing of ours but the suite's look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from horovod_runner.analysis.plots import look as plots
from horovod_runner.statistics.interval import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE_INCHES = 0.24
PANEL_INCHES = 3.6
MOST_NAMED = 60  # lines with names: more stand closer, and unnamed, sorted by their difference
CHARACTER_INCHES = 0.068
FAR = 5.0  # margins: where a part is further, the axis is bent


class ForestLine(NamedTuple):
    """One difference: its name, mean and interval, and how it looks; `whole` is what all lines say together.

    `parts` are what it is the mean of, drawn faintly behind it.
    """

    name: str
    value: Interval
    colour: str = plots.INK
    marker: str = "o"
    whole: bool = False
    parts: Sequence[float] = ()


class Panel(NamedTuple):
    """One figure's differences beside those of others: its title, what its axis measures, and the margin stated.

    Without `differences` the figures themselves are drawn, as what they lack of 1 on a logarithmic axis: a run that
    failed and half a point of accuracy are both to be seen.
    """

    title: str
    below: str
    lines: Sequence[ForestLine]
    margin: float | None = None
    differences: bool = True


def forest(panels: Sequence[Panel]) -> Figure:
    """Draw the panels side by side; their lines are the same ones, from above to below, named on the left.

    A margin is shaded. Lines without an interval are a mark alone.
    """
    import matplotlib
    from matplotlib.figure import Figure

    lines = panels[0].lines
    named = len(lines) <= MOST_NAMED
    inches = LINE_INCHES if named else LINE_INCHES * MOST_NAMED / len(lines)
    left = (max(len(line.name) for line in lines) if named else 3) * CHARACTER_INCHES + 0.3
    width, height = left + len(panels) * (PANEL_INCHES + 0.3), inches * (len(lines) + 1) + 1.1
    with matplotlib.rc_context(plots.STYLE):
        figure = Figure(figsize=(width, height))
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
    figure.subplots_adjust(left=left / width, right=1 - 0.2 / width, bottom=0.6 / height, top=1 - 0.5 / height)
    for place, (panel, at) in enumerate(zip(panels, axes, strict=True)):
        _draw(panel if named else panel._replace(lines=_sorted(panel.lines)), at)
        at.set_yticks(range(len(lines)) if named and place == 0 else [])
        if named and place == 0:
            at.set_yticklabels([line.name for line in lines], fontsize=8.5)
    return figure


def _sorted(lines: Sequence[ForestLine]) -> list[ForestLine]:
    return sorted(lines, key=lambda line: (line.whole, line.value.mean))


def _bent(axes: Axes, margin: float) -> None:
    """Make the axis linear within twice the margin, and logarithmic beyond: most parts are near, a few very far."""
    axes.set_xscale("symlog", linthresh=2 * margin, linscale=1.5)
    reach = max(abs(bound) for bound in axes.get_xlim())
    steps = [factor * margin for factor in (1, 2, 5, 10, 20, 50, 100) if factor * margin <= reach]
    axes.set_xticks([*(-step for step in reversed(steps)), 0.0, *steps])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _lacking(line: ForestLine) -> ForestLine:
    low, high = (None if bound is None else plots.lack(bound) for bound in (line.value.ci95_high, line.value.ci95_low))
    return line._replace(value=Interval(plots.lack(line.value.mean), low, high))


def _draw(panel: Panel, axes: Axes) -> None:
    if panel.margin is not None:
        axes.axvspan(-panel.margin, panel.margin, color="#009e73", alpha=0.13, linewidth=0)
    if panel.differences:
        axes.axvline(0, color=plots.FAINT, linewidth=1)
    for height, line in enumerate(panel.lines if panel.differences else map(_lacking, panel.lines)):
        marker, size, width = ("D", 6.5, 2.2) if line.whole else (line.marker, 4.5, 1.3)
        low, high = line.value.ci95_low, line.value.ci95_high
        if low is not None and high is not None:
            axes.plot([low, high], [height, height], color=line.colour, linewidth=width, solid_capstyle="butt")
        axes.plot([line.value.mean], [height], marker, color=line.colour, markersize=size)
        axes.plot(line.parts, [height + 0.28] * len(line.parts), "|", color=plots.FAINT, markersize=5)
    axes.set_ylim(len(panel.lines) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    if panel.margin is not None and any(abs(part) > FAR * panel.margin for line in panel.lines for part in line.parts):
        _bent(axes, panel.margin)
    elif panel.differences:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    else:
        plots.logarithmic(axes, axes.xaxis)
        axes.set_xlim(min(plots.lack(line.value.mean) for line in panel.lines) / 2, 1.1)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    plots.titled(axes, panel.title, panel.below)
