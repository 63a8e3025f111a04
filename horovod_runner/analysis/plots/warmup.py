"""Warmup drawn: the metric over epochs as on the poster, a panel a batch and a curve a warmup, and its last values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import TYPE_CHECKING, Any

import pandas

from horovod_runner.analysis.load.groups import bounds
from horovod_runner.analysis.plots import look as plots
from horovod_runner.analysis.questions.samples import by_key, diverged
from horovod_runner.analysis.questions.warmup import Place, length, place
from horovod_runner.statistics import seeds
from horovod_runner.statistics.interval import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from horovod_runner.analysis.questions.minimum_sufficient import MinimumSufficient
    from horovod_runner.analysis.questions.warmup import Warmup

SHADES = ("#440154", "#31688e", "#35b779", "#d8b018")  # of viridis, from none to the longest warmup
PANEL_INCHES = (3.6, 2.5)
LAST_PART = 1 / 3  # of the epochs, in the zoomed panels
SURE = 0.5  # of the values in the zoomed panels, the better ones: what is worse is cut off


def finals_of(found: MinimumSufficient) -> Figure:
    """Draw what the final metric lacks of 1 against the epochs of warmup: a panel a rule, a curve a batch.

    On a logarithmic axis, with 95 % intervals: a run that failed and half a point of accuracy are both to be seen.
    """
    points = {where: {w: seeds.over_seeds(v) for w, v in table.items()} for where, table in found.samples.items()}
    rules = _rules(where.rule for where in points)
    batches, frameworks = sorted({where.batch for where in points}), sorted({where.framework for where in points})
    lowest = min(plots.lack(final.mean) for table in points.values() for final in table.values())
    figure, panels = plots.sheet(len(rules))
    for rule, panel in zip(rules, panels, strict=True):
        ends = []
        for (at, batch), (line, framework) in product(enumerate(batches), enumerate(frameworks)):
            own = dict(sorted(points.get(Place(framework, rule, batch), {}).items()))
            if own:
                look = {"color": shade(at, len(batches)), "linestyle": plots.line(line)}
                name = f"{batch:,}, {plots.framework_name(framework)}"
                ends.append(_with_intervals(own, panel, look, name, plots.marker(framework), apart=0.15 * line))
        plots.logarithmic(panel, panel.yaxis)
        panel.set_ylim(lowest / 2, 1.0)
        panel.set_xticks(sorted({warmup for table in points.values() for warmup in table}))
        metric = found.final.metric.replace("_", " ")
        plots.titled(panel, f"1 − final {metric}, {plots.rule_name(rule)}", "epochs of warmup")
        plots.name_ends(panel, ends)
    return figure


def _rules(rules: Iterable[str]) -> list[str]:
    """Return rules in order, the rate that is not scaled first."""
    return sorted(set(rules), key=lambda rule: (rule != "none", rule))


def _with_intervals(
    own: Mapping[float, Interval], axes: Axes, look: dict[str, Any], name: str, marker: str, apart: float
) -> plots.End:
    x, rows = (
        [warmup + apart for warmup in own],
        pandas.DataFrame([bounds("lack", plots.lacking(v)) for v in own.values()]),
    )
    plots.error_bars(axes, x, rows, "lack", marker=marker, markersize=4, capsize=2, linewidth=1.3, **look)
    return plots.End(x[-1], float(rows["lack"].iloc[-1]), name, look["color"], look["linestyle"], marker)


def curves_of(found: Warmup) -> Figure:
    """Draw the metric over epochs, a column a batch; see `curves`."""
    from horovod_runner.analysis.load.tables import epoch_table

    table = epoch_table([run for run in found.runs if run.completed]).dropna(subset=["val_metric"])
    by_id = {run.result.run_id: run for run in found.runs}
    table["rule"] = [place(by_id[name]).rule for name in table["run_id"]]
    table["warmup"] = [length(by_id[name]) for name in table["run_id"]]
    table = table.rename(columns={"global_batch": "batch", "val_metric": "value"})
    lost = {where: diverged(cell) for where, cell in by_key(found.runs, lambda run: place(run)[1:]).items()}
    return curves(table, found.final.metric, lost)


def curves(table: pandas.DataFrame, metric: str, lost: Mapping[tuple[str, int], int]) -> Figure:
    """Draw the metric over epochs: a column a batch, two rows a rule (whole, and the last epochs' better values).

    `table` has framework, rule, batch, warmup, epoch and value of completed runs; a curve is the mean over seeds, in a
    band from the least to the largest. `lost` are the diverged runs by rule and batch, which no curve shows.
    """
    rules, batches = _rules(table["rule"]), sorted(set(table["batch"]))
    places = [(rule, zoomed) for rule in rules for zoomed in (False, True)]
    figure, axes = plots.grid(len(places), len(batches), PANEL_INCHES)
    for row, (rule, zoomed) in enumerate(places):
        for column, batch in enumerate(batches):
            panel, rows = axes[row][column], table[(table["rule"] == rule) & (table["batch"] == batch)]
            _lines(rows, panel, table)
            gone = lost.get((rule, batch), 0)
            note = f" ({gone} diverged)" if gone else ""
            title = f"Batch {batch:,}, " + ("last epochs" if zoomed else f"{plots.rule_name(rule)}{note}")
            plots.titled(panel, title, "epoch" if row == len(places) - 1 else "", "" if column else _named(metric))
            if zoomed and len(rows):
                _zoom(rows, panel)
    warmups, frameworks = (sorted(set(table[name])) for name in ("warmup", "framework"))
    lines = [(f"warmup {warmup:g}", shade(place, len(warmups)), "-") for place, warmup in enumerate(warmups)]
    named = [(plots.framework_name(name), plots.INK, plots.line(place)) for place, name in enumerate(frameworks)]
    plots.legend(figure, lines + named)
    return figure


def _lines(rows: pandas.DataFrame, axes: Axes, whole: pandas.DataFrame) -> None:
    warmups, frameworks = (sorted(set(whole[name])) for name in ("warmup", "framework"))
    for (framework, warmup), cell in rows.groupby(["framework", "warmup"]):
        over = cell.groupby("epoch")["value"].agg(["mean", "min", "max"])
        colour = shade(warmups.index(warmup), len(warmups))
        line = plots.line(frameworks.index(framework))
        axes.plot(over.index, over["mean"], color=colour, linestyle=line, linewidth=1.3)
        axes.fill_between(over.index, over["min"], over["max"], color=colour, alpha=0.1, linewidth=0)


def shade(place: int, count: int) -> str:
    """Return the colour of one of so many ordered settings, from dark to light."""
    return (
        SHADES[round(place * (len(SHADES) - 1) / max(1, count - 1))] if count <= len(SHADES) else _between(place, count)
    )


def _between(place: int, count: int) -> str:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return str(to_hex(colormaps["viridis"](0.92 * place / (count - 1))))


def _zoom(rows: pandas.DataFrame, axes: Axes) -> None:
    """Show the last part of the epochs, and of its values the better ones."""
    last = rows["epoch"].max()
    shown = rows[rows["epoch"] >= last - max(1, last * LAST_PART)]
    low, high = shown["value"].quantile(1 - SURE), shown["value"].max()
    room = max(high - low, 1e-3)
    axes.set_xlim(shown["epoch"].min(), last)
    plots.whole_numbers(axes)
    axes.set_ylim(low - 0.3 * room, high + 0.15 * room)


def _named(metric: str) -> str:
    return f"validation {metric.replace('_', ' ')}"
