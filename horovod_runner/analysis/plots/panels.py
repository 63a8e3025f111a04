"""Which panels a group of runs gets, from its runs and from what `scaling.study` says of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas

from horovod_runner.analysis.load.groups import Group, bounds, cell_rows
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.load.tables import clocks, epoch_table, step_table
from horovod_runner.analysis.plots import look as plots
from horovod_runner.analysis.plots import scaling as scaling_plots
from horovod_runner.analysis.plots import strategies as strategy_plots
from horovod_runner.analysis.plots import times as time_plots
from horovod_runner.analysis.questions.scaling.study import THRESHOLD, Scaling
from horovod_runner.analysis.questions.strategies import Comparison, Variant
from horovod_runner.config.frameworks import PAIR
from horovod_runner.statistics.interval import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_WITH_STEPS = 16  # completed runs of a group whose every step is drawn; of more, the means of epochs
MOST_STEPS_READ = 300_000  # of a group, about a second: beyond that the first repeats stand for all
LAWS = {"usl": "USL", "amdahl": "Amdahl", "gustafson": "Gustafson"}  # short names, beside curves
OF_SCALING = "-scaling"  # what the name of the sheet about scaling and times ends in
OF_STRATEGIES = "-strategies"
MOST_NUMBERS_OF_WORKERS = 4  # of a comparison that are drawn: the largest


class Panel(NamedTuple):
    """What draws a panel, and what its caption is made of: a macro of `captions.j2`, and what it is given."""

    draw: Callable[[Axes], Axes]
    kind: str
    of: Mapping[str, Any]


def panel(draw: Callable[[Axes], Axes], kind: str, **of: Any) -> Panel:
    """Return a panel."""
    return Panel(draw, kind, of)


def sheets(group: Group, scalings: Sequence[Scaling]) -> dict[str, list[Panel]]:
    """Return a group's panels by sheet: what is appended to its name, and its panels.

    Where several numbers of workers were measured, scaling and times have a sheet of their own.
    """
    learning, timing = list(_learning(group)), list(_timing(group))
    made = {OF_SCALING: [*_scaling(scalings), *timing], "": learning} if scalings else {"": learning + timing}
    return {kind: drawn for kind, drawn in made.items() if drawn}


def of_strategies(comparison: Comparison) -> list[Panel]:
    """Return the panels that set strategies side by side, two for each number of workers: steps and timelines."""
    drawn = []
    for workers in sorted({variant.workers for variant in comparison.variants})[-MOST_NUMBERS_OF_WORKERS:]:
        variants = [variant for variant in comparison.variants if variant.workers == workers]
        if len({variant.name for variant in variants}) > 1:
            drawn.append(panel(partial(strategy_plots.steps, _variant_table(variants), workers), "strategies"))
        traced = [variant for variant in variants if variant.breakdown]
        if traced:
            drawn.append(panel(partial(strategy_plots.breakdown, _breakdown_table(traced), workers), "breakdown"))
    return drawn


def _variant_table(variants: Sequence[Variant]) -> pandas.DataFrame:
    """Return milliseconds of a step with their intervals, and those of compute-only workers."""
    rows = []
    for variant in variants:
        speed, batch = variant.images_per_second, variant.cell.global_batch
        low, high = (1000 * batch / bound if bound else None for bound in (speed.ci95_high, speed.ci95_low))
        alone = 1000 * (variant.step_seconds - variant.exposed.mean) if variant.exposed else None
        row: dict[str, Any] = {"framework": variant.framework, "variant": variant.name, "compute_only": alone}
        rows.append(row | bounds("step", Interval(1000 * variant.step_seconds, low, high)))
    return pandas.DataFrame(rows)


def _breakdown_table(variants: Sequence[Variant]) -> pandas.DataFrame:
    traced = [(variant, variant.breakdown) for variant in variants if variant.breakdown]
    rows = [
        {"framework": variant.framework, "variant": variant.name, "step": breakdown.step_seconds, **breakdown.seconds}
        for variant, breakdown in traced
    ]
    return pandas.DataFrame(rows)


def _learning(group: Group) -> Iterator[Panel]:
    """Yield losses, metric and throughput, whatever of them the completed runs carry."""
    epochs, cells = epoch_table(group.completed), pandas.DataFrame(cell_rows([group]))
    few = 0 < len(group.completed) <= MOST_WITH_STEPS
    if few:
        every = step_table(group.completed, ["step", "epoch", "train_loss"])
        yield panel(partial(plots.steps, every), "steps")
    # The mean loss of a single epoch is a number, and stands in the table.
    lines = [value for value in ("train_loss", "val_loss") if epochs.dropna(subset=[value])["epoch"].nunique() > 1]
    for value in lines:
        if value == "val_loss" or not few:
            yield panel(partial(plots.curves, epochs, value=value), "curves", title=plots.TITLES[value])
    for value in lines:
        if len(plots.pair(epochs, value)):
            of = {"title": plots.TITLES[value], "first": PAIR[0], "second": PAIR[1]}
            yield panel(partial(plots.difference, epochs, value=value), "difference", **of)
    if "val_loss" in lines:
        yield panel(partial(plots.curves, epochs, value="val_metric"), "metric", name=group.metric)
    if cells["images_per_second"].notna().any():
        yield panel(partial(plots.throughput, cells), "throughput")


def _scaling(scalings: Sequence[Scaling]) -> Iterator[Panel]:
    """Yield speedup, efficiency, and the parts of a step where compute-only workers tell them apart."""
    points, fitted, knees = point_table(scalings), _fitted(scalings), _knees(scalings)
    law = fitted["law"].iloc[0] if len(fitted) else ""
    ceiling = points["ceiling"].notna().any()
    yield panel(partial(scaling_plots.speedup, points, fitted, knees), "speedup", ceiling=ceiling, law=law)
    yield panel(partial(scaling_plots.efficiency, points, knees, THRESHOLD), "efficiency", threshold=THRESHOLD)
    parts = _parts(scalings)
    if len(parts):
        yield panel(partial(time_plots.parts, parts), "parts")


def _timing(group: Group) -> Iterator[Panel]:
    """Yield how step times scatter, and every worker's own at the largest number of workers."""
    most = max((cell.workers for cell in group.cells if cell.completed), default=0)
    compute_only = [
        run for cell in group.cells if cell.ceiling and cell.workers == most for run in cell.ceiling.completed
    ]
    chosen = _first(group.completed)
    steps: dict[tuple[str, int], list[Any]] = defaultdict(list)
    means: list[dict[str, Any]] = []
    for run, seconds in clocks(chosen):
        steps[run.result.framework, run.result.workers].append(seconds.max(axis=1))
        means += _rank_means(run, seconds, False) if run.result.workers == most else []
    if not steps:
        return
    together = {cell: np.concatenate(parts) for cell, parts in sorted(steps.items())}
    yield panel(partial(time_plots.step_times, together), "step_times", runs=len(chosen))
    for run, seconds in clocks(_first(compute_only)):
        means += _rank_means(run, seconds, True)
    if most > 1 and means:
        yield panel(partial(time_plots.ranks, pandas.DataFrame(means)), "ranks", workers=most)


def _first(runs: Sequence[Run]) -> list[Run]:
    """Return the runs, or the first ones of every cell: as many as keep reading their steps short, at least one."""
    cells: dict[tuple[str, int], list[Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: (run.result.repeat, run.result.seed)):
        cells[run.result.framework, run.result.workers].append(run)
    rounds = [[run for run in turn if run] for turn in zip_longest(*cells.values())]
    lines = np.cumsum([sum(run.result.steps // run.config.record_every for run in turn) for turn in rounds])
    return [run for turn in rounds[: max(1, int((lines <= MOST_STEPS_READ).sum()))] for run in turn]


def _rank_means(run: Run, seconds: Any, compute_only: bool) -> list[dict[str, Any]]:
    who = {"framework": run.result.framework, "run": run.result.run_id, "compute_only": compute_only}
    return [{**who, "rank": rank, "seconds": float(mean)} for rank, mean in enumerate(seconds.mean(axis=0))]


def point_table(scalings: Sequence[Scaling]) -> pandas.DataFrame:
    """Return a row a framework and number of workers, as `scaling_plots` draws them."""
    rows = [
        {
            "framework": scaling.framework,
            "workers": point.workers,
            "baseline_workers": scaling.baseline_workers,
            "oversubscribed": point.oversubscribed,
            "ceiling": point.ceiling.mean if point.ceiling else None,
            **bounds("speedup", point.speedup),
            **bounds("efficiency", point.efficiency),
        }
        for scaling in scalings
        for point in scaling.points
    ]
    return pandas.DataFrame(rows)


def _fitted(scalings: Sequence[Scaling]) -> pandas.DataFrame:
    """Return each framework's law on a fine grid of workers, as far as the points that it was fitted to."""
    tables = [pandas.DataFrame(columns=["framework", "law", "workers", "speedup", "low", "high"])]
    for scaling in scalings:
        for fit in (fit for fit in scaling.fits if fit.law == scaling.knee.law):
            workers = np.geomspace(scaling.baseline_workers, scaling.trusted[-1].workers, 60)
            speedup, low, high = fit.curve(workers)
            columns = {"workers": workers, "speedup": speedup, "low": low, "high": high}
            tables.append(pandas.DataFrame({"framework": scaling.framework, "law": LAWS[fit.law], **columns}))
    return pandas.concat(tables[1:] or tables, ignore_index=True)


def _knees(scalings: Sequence[Scaling]) -> pandas.DataFrame:
    rows = []
    for scaling in scalings:
        at = scaling.knee.predicted
        bounds = {"predicted": at.mean, "low": at.ci95_low, "high": at.ci95_high} if at else {}
        rows.append({"framework": scaling.framework, "measured": scaling.knee.measured, **bounds})
    return pandas.DataFrame(rows, columns=["framework", "measured", "predicted", "low", "high"])


def _parts(scalings: Sequence[Scaling]) -> pandas.DataFrame:
    """Return the known parts of steps, empty where nobody measured compute-only workers beside others."""
    rows = [
        {"framework": scaling.framework, "workers": workers} | {name: getattr(parts, name) for name in time_plots.PARTS}
        for scaling in scalings
        for workers, parts in scaling.parts.items()
        if parts.computing is not None
    ]
    table = pandas.DataFrame(rows, columns=["framework", "workers", *time_plots.PARTS]).astype({"workers": int})
    return table if (table["workers"] > 1).any() else table[:0]
