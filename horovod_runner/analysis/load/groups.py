"""From runs to what a table shows: groups, and in each the cells with their throughput, speedup and efficiency.

A *group* holds runs of one job on one machine with equal settings, apart from framework, workers, seed and repeat: one
table, one set of figures. A *cell* is one framework on one number of workers in it: its runs differ in seed and repeat.
Compute-only workers and loaders (see arms.py) make no groups of their own where there are runs that they belong to:
they are the `ceiling` and the `loading` of a cell.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from horovod_runner.analysis.load.arms import Arms, but_for_the_arm, oversubscribed, shared_settings, sorted_out
from horovod_runner.analysis.load.learning import not_learned
from horovod_runner.analysis.load.runs import Run
from horovod_runner.statistics.interval import Interval, ratio, times
from horovod_runner.statistics.throughput import over_runs

FIXED_BATCH = {"weak": "local_batch", "strong": "global_batch"}


@dataclass(frozen=True)
class Cell:
    """Equal runs but for seed and repeat; figures are of the completed ones, None where none has any.

    `speedup` is t(1)/t(N) per image against the same framework's one worker in the group, and `efficiency` that over N.
    Where nobody measured one worker, the baseline is the smallest number M that somebody did, `baseline_workers`, and
    the speedup is M t(M)/t(N). `ceiling` is the cell of as many compute-only workers, `loading` of as many loaders.
    """

    framework: str
    workers: int
    local_batch: int
    global_batch: int
    runs: tuple[Run, ...]
    images_per_second: Interval | None
    speedup: Interval | None = None
    efficiency: Interval | None = None
    baseline_workers: int | None = None
    ceiling: Cell | None = None
    loading: Cell | None = None

    @property
    def completed(self) -> list[Run]:
        """The runs that its figures come from."""
        return [run for run in self.runs if run.completed]

    @property
    def oversubscribed(self) -> bool:
        """Whether its workers had to share cores: their speed then tells of the sharing, and not of scaling."""
        return any(oversubscribed(run) for run in self.runs)

    @property
    def untimed(self) -> bool:
        """Whether its runs shared their machine with other runs, so that none has a speed."""
        return self.images_per_second is None and any(run.result.at_once > 1 for run in self.completed)

    @property
    def status(self) -> str:
        """What became of its runs, in words: `completed`, or how many of each."""
        states = [run.result.status for run in self.runs]
        if len(states) == 1:
            return states[0]
        return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states)))

    def mean(self, figure: str) -> float | None:
        """Return the mean over completed runs of a figure of `Run.row`, or None where no run has it."""
        values = [run.row.get(figure) for run in self.completed]
        known = [value for value in values if value is not None]
        return math.fsum(known) / len(known) if known else None


@dataclass(frozen=True)
class Group:
    """One job, one machine, one way of scaling, one set of settings."""

    experiment: str
    workload: str
    scaling: str
    fixed_batch: int
    machine: str
    settings: Mapping[str, Any]
    distinct: Mapping[str, Any]  # the settings that tell it from the job's other groups in its experiment
    cells: tuple[Cell, ...]
    emulated: Mapping[str, Any] | None = None  # what its hosts are, where they are emulated: see Run
    unmatched: tuple[Cell, ...] = ()  # compute-only workers and loaders of which there is no cell yet

    @property
    def runs(self) -> list[Run]:
        """All runs of all cells, compute-only workers and loaders among them."""
        arms = [arm for cell in self.cells for arm in (cell, cell.ceiling, cell.loading) if arm]
        return [run for arm in (*arms, *self.unmatched) for run in arm.runs]

    @property
    def completed(self) -> list[Run]:
        """The runs of the cells that figures are drawn from."""
        return [run for cell in self.cells for run in cell.completed]

    @property
    def metric(self) -> str | None:
        """The name of the validation metric, if any run has one."""
        return next((run.result.val_metric.name for run in self.completed if run.result.val_metric), None)

    def cell(self, framework: str, workers: int) -> Cell | None:
        """Return the cell of a framework and a number of workers, if there is one."""
        return next((cell for cell in self.cells if (cell.framework, cell.workers) == (framework, workers)), None)


def groups(runs: Iterable[Run]) -> list[Group]:
    """Return the groups of these runs, by experiment, job and settings."""
    together: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        together[_key(run, but_for_the_arm(shared_settings(run)))].append(run)
    made = [group for members in together.values() for group in _groups(sorted_out(members))]
    return sorted(_labelled(made), key=_order)


def all_runs(chosen: Iterable[Group]) -> list[Run]:
    """Return the runs of these groups, each once: groups may share their compute-only workers."""
    return list({run.folder: run for group in chosen for run in group.runs}.values())


def cell_rows(chosen: Iterable[Group]) -> list[dict[str, Any]]:
    """Return one flat row a cell, for a table; None where there is no figure."""
    return [_cell_row(group, cell) for group in chosen for cell in group.cells]


def _order(group: Group) -> tuple[Any, ...]:
    """Return what groups are sorted by: numbers among their settings by size, anything else as text."""
    settings = (
        (0, value, "") if isinstance(value, int | float) else (1, 0, str(value)) for value in group.distinct.values()
    )
    return group.experiment, group.workload, group.scaling, group.fixed_batch, *settings


def _key(run: Run, settings: Mapping[str, Any]) -> str:
    return json.dumps([run.experiment, run.machine, settings], sort_keys=True)


def _groups(arms: Arms) -> list[Group]:
    """Return a group for every strategy, or for what else there is where nothing was trained with one."""
    if not arms.training:
        compute_only = arms.compute_only + arms.alone
        arms = Arms(compute_only, loading=arms.loading) if compute_only else Arms(arms.loading)
    together: dict[str, list[Run]] = defaultdict(list)
    for run in arms.training:
        together[_key(run, shared_settings(run))].append(run)
    return [_group(members, arms) for members in together.values()]


def _group(members: Sequence[Run], arms: Arms) -> Group:
    first = members[0]
    trained, alone = _by_place(members), _by_place(arms.alone)
    compute_only = _by_place(arms.compute_only) | {place: cell for place, cell in alone.items() if place in trained}
    trained |= {place: cell for place, cell in alone.items() if place not in trained}
    loading = _by_place(arms.loading)
    cells = [
        replace(trained[p], ceiling=compute_only.pop(p, None), loading=loading.pop(p, None)) for p in sorted(trained)
    ]
    return Group(
        experiment=first.experiment,
        workload=first.result.workload,
        scaling=first.result.scaling,
        fixed_batch=getattr(first.result, FIXED_BATCH.get(first.result.scaling, "local_batch")),
        machine=first.machine,
        settings=shared_settings(first),
        distinct={},
        cells=_against_the_baseline(cells),
        emulated=first.emulated,
        unmatched=(*compute_only.values(), *loading.values()),
    )


def _by_place(runs: Iterable[Run]) -> dict[tuple[str, int], Cell]:
    """Return runs as cells, by framework and workers."""
    together: dict[tuple[str, int], list[Run]] = defaultdict(list)
    for run in runs:
        together[run.result.framework, run.result.workers].append(run)
    return {place: _cell(members) for place, members in together.items()}


def _cell(runs: Sequence[Run]) -> Cell:
    result = runs[0].result
    measured = [run.result.images_per_second for run in runs if run.completed and run.result.images_per_second]
    return Cell(
        framework=result.framework,
        workers=result.workers,
        local_batch=result.local_batch,
        global_batch=result.global_batch,
        runs=tuple(runs),
        images_per_second=_together(measured),
    )


def _together(measured: Sequence[Interval]) -> Interval | None:
    """Return one run's own interval (from blocks of its steps), or of several runs one in which a run is a sample."""
    if len(measured) <= 1:
        return measured[0] if measured else None
    return over_runs([interval.mean for interval in measured])


def _against_the_baseline(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """Return cells, by increasing workers, with the speedup over the first one of their framework that has figures."""
    baselines: dict[str, Cell] = {}
    for cell in cells:
        if cell.images_per_second:
            baselines.setdefault(cell.framework, cell)
    return tuple(_compared(cell, baselines.get(cell.framework)) for cell in cells)


def _compared(cell: Cell, baseline: Cell | None) -> Cell:
    if baseline is None:
        return cell
    ceiling = cell.ceiling and _with_speedup(cell.ceiling, baseline)
    if cell.workers > baseline.workers:
        cell = _with_speedup(cell, baseline)
    return replace(cell, ceiling=ceiling, baseline_workers=baseline.workers)


def _with_speedup(cell: Cell, baseline: Cell) -> Cell:
    if baseline.images_per_second is None or cell.images_per_second is None:
        return cell
    speedup = times(ratio(cell.images_per_second, baseline.images_per_second), baseline.workers)
    return replace(
        cell, speedup=speedup, efficiency=times(speedup, 1 / cell.workers), baseline_workers=baseline.workers
    )


def _labelled(made: Sequence[Group]) -> list[Group]:
    """Note in every group the settings, the machine among them, that vary between the groups of its job."""
    values: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for group in made:
        for key, value in _own(group).items():
            values[group.experiment, group.workload][key].add(json.dumps(value))
    return [_named(group, values[group.experiment, group.workload]) for group in made]


def _named(group: Group, values: Mapping[str, set[str]]) -> Group:
    return replace(group, distinct={key: value for key, value in _own(group).items() if len(values[key]) > 1})


def _own(group: Group) -> dict[str, Any]:
    """Return what may tell a group apart; its way of scaling, batch and emulated hosts stand in every title."""
    titled = {"scaling", *FIXED_BATCH.values()}
    machine = group.emulated["on"] if group.emulated else group.machine
    return {k: v for k, v in {**group.settings, "machine": machine}.items() if k not in titled}


def _cell_row(group: Group, cell: Cell) -> dict[str, Any]:
    wait = cell.mean("data_wait_fraction")
    row = {name: getattr(group, name) for name in ("experiment", "workload", "scaling", "machine")}
    row |= {"emulated": group.emulated is not None}
    row |= {name: getattr(cell, name) for name in ("framework", "workers", "local_batch", "global_batch", "status")}
    row |= {"runs": len(cell.runs), "completed_runs": len(cell.completed)}
    row |= {"baseline_workers": cell.baseline_workers, "oversubscribed": cell.oversubscribed}
    for name in ("images_per_second", "speedup", "efficiency"):
        row |= bounds(name, getattr(cell, name))
    row |= bounds("ceiling_images_per_second", cell.ceiling.images_per_second if cell.ceiling else None)
    row |= bounds("ceiling_speedup", cell.ceiling.speedup if cell.ceiling else None)
    row |= bounds("loading_images_per_second", cell.loading.images_per_second if cell.loading else None)
    row |= {"wall_images_per_second": cell.mean("wall_images_per_second"), "unsettled": unsettled(cell.runs)}
    row |= {"step_seconds_median": cell.mean("step_seconds.median"), "data_wait_fraction": wait}
    row |= {name: cell.mean(name) for name in ("final_train_loss", "final_val_loss", "final_val_metric")}
    row |= {"trivial_metric": cell.mean("trivial_metric"), "not_learned": not_learned(cell.runs)}
    return row | {"metric": group.metric, "settings": dict(group.distinct)}


def unsettled(runs: Iterable[Run]) -> int | None:
    """Return in how many runs the step times never settled; None where it is known of none."""
    known = [run.result.settled for run in runs if run.result.settled is not None]
    return known.count(False) if known else None


def bounds(name: str, interval: Interval | None) -> dict[str, float | None]:
    """Return a mean and the bounds of its interval as three columns of a table."""
    if interval is None:
        return {name: None, f"{name}_ci95_low": None, f"{name}_ci95_high": None}
    return {name: interval.mean, f"{name}_ci95_low": interval.ci95_low, f"{name}_ci95_high": interval.ci95_high}
