"""Forest plots, a difference a line with its interval: of arms, rules, frameworks, and frameworks over studies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from horovod_runner.analysis.plots import look as plots
from horovod_runner.analysis.questions import BOTH, short_settings
from horovod_runner.analysis.questions.frameworks import RATIO
from horovod_runner.statistics import seeds
from horovod_runner.statistics.interval import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from horovod_runner.analysis.questions.ablation import Ablation
    from horovod_runner.analysis.questions.across import Across
    from horovod_runner.analysis.questions.frameworks import FrameworkComparison
    from horovod_runner.analysis.questions.rules import Rules

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


def _draw(panel: Panel, axes: Axes) -> None:
    if panel.margin is not None:
        axes.axvspan(-panel.margin, panel.margin, color="#009e73", alpha=0.13, linewidth=0)
    if panel.differences:
        axes.axvline(0, color=plots.FAINT, linewidth=1)
    for height, line in enumerate(panel.lines):
        marker, size, width = ("D", 6.5, 2.2) if line.whole else (line.marker, 4.5, 1.3)
        value = line.value if panel.differences else plots.lacking(line.value)
        low, high = value.ci95_low, value.ci95_high
        if low is not None and high is not None:
            axes.plot([low, high], [height, height], color=line.colour, linewidth=width, solid_capstyle="butt")
        axes.plot([value.mean], [height], marker, color=line.colour, markersize=size)
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


def of_arms(found: Ablation) -> Figure:
    """Draw every arm's final metric, and what it changes against the base arm."""
    effects = sorted(found.effects, key=lambda effect: (found.arms.index(effect.arm), effect.framework == BOTH))
    finals = [_line(effect.arm, effect.framework, effect.final) for effect in effects]
    changes = [_line(effect.arm, effect.framework, effect.change or Interval(0.0, None, None)) for effect in effects]
    named = found.final.metric.replace("_", " ")
    return forest(
        [
            Panel(f"1 − final {named}", "mean, 95 % interval over seeds", finals, differences=False),
            Panel(f"Change against {found.arms[0]}", "paired by seed, 95 % interval", changes),
        ]
    )


def of_rules(found: Rules) -> Figure:
    """Draw what each rule gains over the base rule, and where it can be said, with the best warmup of each."""
    title = f"Final {found.final.metric.replace('_', ' ')} against {plots.rule_name(found.base)}"
    gains = {gain: f"batch {gain.batch:,}, {plots.rule_name(gain.rule)}" for gain in found.gains}
    lines = [_line(name, gain.framework, gain.gain) for gain, name in gains.items()]
    at_best = [_line(name, gain.framework, gain.at_best) for gain, name in gains.items() if gain.at_best is not None]
    panels = [Panel(title, "difference paired by seed, 95 % interval", lines)]
    if len(at_best) == len(lines):
        panels.append(Panel("Each at its best warmup", "bootstrap over seeds, 95 % interval", at_best))
    return forest(panels)


def _line(name: str, framework: str, value: Interval) -> ForestLine:
    whole = framework == BOTH
    who = "together" if whole else plots.framework_name(framework)
    colour = plots.INK if whole else plots.colour(framework)
    return ForestLine(f"{name}, {who}", value, colour, plots.marker(framework), whole)


def of_frameworks(found: FrameworkComparison) -> Figure:
    """Draw the difference of two frameworks in every setting, a panel a figure that all settings have."""
    metric = f"Final {found.final.metric.replace('_', ' ')}"
    titles = {"val_metric": metric, "val_loss": "Last validation loss", "steps_to_target": "Steps to target"}
    panels = []
    for one in found.pooled:
        values = [setting.differences.get(one.figure) for setting in found.settings]
        if all(values) and one.figure in titles:
            names = [short_settings(setting.label) or "all runs" for setting in found.settings]
            lines = [ForestLine(name, seeds.over_seeds(of)) for name, of in zip(names, values, strict=True) if of]
            lines += [ForestLine("all together", one.mean, whole=True)] if len(lines) > 1 else []
            below = f"{_both(found.frameworks)}, 95 % interval"
            panels.append(Panel(titles[one.figure], below, lines, found.margins.get(one.figure)))
    return forest(panels)


def of_studies(found: Across) -> Figure:
    """Draw a line a study and figure, in units of the margin that the study stated."""
    lines = [
        ForestLine(
            f"{line.study}: {line.named} ({'×' if line.figure == RATIO else '±'}{line.margin:g})",
            value,
            parts=line.settings_in_margins,
        )
        for line in found.lines
        if (value := line.in_margins) is not None
    ]
    below = "in margins; 95 % interval over seeds; ticks: settings"
    return forest([Panel(_both(found.lines[0].frameworks), below, lines, 1.0)])


def _both(frameworks: Sequence[str]) -> str:
    return " − ".join(map(plots.framework_name, frameworks))
