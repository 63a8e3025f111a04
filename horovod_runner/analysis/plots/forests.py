"""Findings that are drawn as a forest: arms, rules, frameworks, and frameworks over several studies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from horovod_runner.analysis.plots import look
from horovod_runner.analysis.plots.forest import ForestLine, Panel, forest
from horovod_runner.analysis.questions import BOTH, short_settings
from horovod_runner.statistics import seeds
from horovod_runner.statistics.interval import Interval, times

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from horovod_runner.analysis.questions.ablation import Ablation
    from horovod_runner.analysis.questions.across import Across
    from horovod_runner.analysis.questions.frameworks import FrameworkComparison
    from horovod_runner.analysis.questions.rules import Rules


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
    title = f"Final {found.final.metric.replace('_', ' ')} against {look.rule_name(found.base)}"
    gains = {gain: f"batch {gain.batch:,}, {look.rule_name(gain.rule)}" for gain in found.gains}
    lines = [_line(name, gain.framework, gain.gain) for gain, name in gains.items()]
    at_best = [_line(name, gain.framework, gain.at_best) for gain, name in gains.items() if gain.at_best is not None]
    panels = [Panel(title, "difference paired by seed, 95 % interval", lines)]
    if len(at_best) == len(lines):
        panels.append(Panel("Each at its best warmup", "bootstrap over seeds, 95 % interval", at_best))
    return forest(panels)


def _line(name: str, framework: str, value: Interval) -> ForestLine:
    whole = framework == BOTH
    who = "together" if whole else look.framework_name(framework)
    colour = look.INK if whole else look.colour(framework)
    return ForestLine(f"{name}, {who}", value, colour, look.marker(framework), whole)


def of_frameworks(found: FrameworkComparison) -> Figure:
    """Draw the difference of two frameworks in every setting, a panel a figure that all settings have."""
    metric = f"Final {found.final.metric.replace('_', ' ')}"
    titles = {"val_metric": metric, "val_loss": "Last validation loss", "steps_to_target": "Steps to target"}
    panels = []
    for one in found.pooled:
        values = [setting.differences.get(one.figure) for setting in found.settings]
        if all(values):
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
            f"{line.study}: {line.named} (±{line.margin:g})",
            times(line.pooled.mean, 1 / line.margin),
            parts=[setting / line.margin for setting in line.pooled.settings],
        )
        for line in found.lines
        if line.margin is not None
    ]
    below = "in margins; 95 % interval over seeds; ticks: settings"
    return forest([Panel(_both(found.lines[0].frameworks), below, lines, 1.0)])


def _both(frameworks: Sequence[str]) -> str:
    return " − ".join(map(look.framework_name, frameworks))
