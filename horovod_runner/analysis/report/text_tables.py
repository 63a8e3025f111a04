"""Tables as readers see them, in the terminal, on the page and in notebooks: rows whose every value is a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from horovod_runner.analysis.load.groups import Cell, Group
from horovod_runner.analysis.load.learning import not_learned
from horovod_runner.analysis.report import words
from horovod_runner.statistics.interval import Interval, times

if TYPE_CHECKING:
    from horovod_runner.analysis.questions.strategies import Comparison, Variant

LEFT = ("framework", "strategy", "arm", "setting", "rule", "status", "settings", "verdict", "workload", "figure")
BOUNDS = ("_ci95_low", "_ci95_high")
BREAKDOWN_TITLE = "Step breakdown by Horovod's timeline, as rank 0 saw it, in ms"
OF_MANY = ("images/s", "train loss", "val loss", "metric", "status")  # of a cell, in a table of many groups


def cell_rows(group: Group) -> list[dict[str, str]]:
    """Return the table of a group, a row a cell."""
    return [_cell_row(cell) for cell in group.cells]


def _cell_row(cell: Cell) -> dict[str, str]:
    return {
        "framework": cell.framework,
        "workers": words.workers(cell),
        "batch": str(cell.global_batch),
        "images/s": words.speed(cell),
        "speedup": "baseline" if cell.workers == cell.baseline_workers else words.with_bounds(cell.speedup),
        "efficiency": words.amount(cell.efficiency.mean if cell.efficiency else None),
        "step ms": words.milliseconds(cell.mean("step_seconds.median")),
        "wait %": words.percent(cell.mean("data_wait_fraction")),
        "train loss": words.loss(cell.mean("final_train_loss")),
        "val loss": words.loss(cell.mean("final_val_loss")),
        "metric": words.loss(cell.mean("final_val_metric")),
        "status": _status(cell),
    }


def _status(cell: Cell) -> str:
    """Return what became of a cell's runs, a line each."""
    lost, several = not_learned(cell.runs), len(cell.runs) > 1
    learned = [f"{lost} not learned" if several else "not learned"] if lost else []
    return "\n".join([*cell.status.split(", "), *learned])


def group_rows(groups: Sequence[Group]) -> list[dict[str, str]]:
    """Return one table of many groups, a row a cell: the settings that tell them apart, and how its runs ended."""
    keys = list(dict.fromkeys(key for group in groups for key in group.distinct))
    return [
        {"workload": words.job(group.workload)}
        | {name: row[name] for name in ("framework", "workers", "batch")}
        | {key: words.entry(group.distinct.get(key)) for key in keys}
        | {name: row[name] for name in OF_MANY}
        for group in groups
        for row in cell_rows(group)
    ]


def strategy_rows(comparison: Comparison) -> list[dict[str, str]]:
    """Return the table that sets strategies side by side, each framework's compute-only workers first."""
    made = []
    for framework, number in comparison.places:
        who, variants = {"framework": framework, "workers": str(number)}, comparison.at(framework, number)
        if (framework, number) in comparison.compute_only:
            made.append(who | _compute_only_row(comparison.compute_only[framework, number], variants))
        made += [who | _variant_row(variant) for variant in variants]
    return made


def _compute_only_row(compute_only: Cell, variants: Sequence[Variant]) -> dict[str, str]:
    """Return the row of compute-only workers; their step is the slowest one's, which variants are measured against."""
    step = next((variant.step_seconds - variant.exposed.mean for variant in variants if variant.exposed), None)
    row = {
        "strategy": "none, compute-only",
        "images/s": words.with_bounds(compute_only.images_per_second),
        "of compute-only": "1",
    }
    row |= {"step ms": words.milliseconds(step)}
    return row | dict.fromkeys(("exposed ms", "exposed %", "overlapped %"), words.NOTHING)


def _variant_row(variant: Variant) -> dict[str, str]:
    return {
        "strategy": f"{variant.name}{words.TRACED if variant.traced else ''}",
        "images/s": words.with_bounds(variant.images_per_second),
        "of compute-only": words.with_bounds(variant.of_compute_only),
        "step ms": words.milliseconds(variant.step_seconds),
        "exposed ms": words.with_bounds(times(variant.exposed, 1000) if variant.exposed else None),
        "exposed %": words.percent(variant.exposed_share.mean if variant.exposed_share else None),
        "overlapped %": words.with_bounds(variant.overlapped, partial(words.percent, digits=0)),
    }


def breakdown_rows(comparison: Comparison) -> list[dict[str, str]]:
    """Return the table of how steps divide by Horovod's timeline, in milliseconds a step."""
    return [
        {"framework": variant.framework, "workers": str(variant.workers), "strategy": variant.name}
        | {"step ms": words.milliseconds(variant.breakdown.step_seconds)}
        | {phase: words.milliseconds(seconds) for phase, seconds in variant.breakdown.seconds.items()}
        | {"last ready": _last_ready(variant.breakdown.last_ready)}
        for variant in comparison.variants
        if variant.breakdown
    ]


def _last_ready(counts: Sequence[int]) -> str:
    """Return the rank that came last most often, and to how many of the negotiations that waited for a single one."""
    return f"{counts.index(max(counts))}: {max(counts):,} of {sum(counts):,}" if any(counts) else words.NOTHING


def answer_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return a question's table as texts; a value whose bounds stand beside it becomes `value [low, high]`.

    Columns without a value in any row are left out.
    """
    telling = {name for row in rows for name, value in row.items() if value is not None and not name.endswith(BOUNDS)}
    return [{name.replace("_", " "): _with_its_bounds(row, name) for name in row if name in telling} for row in rows]


def _with_its_bounds(row: Mapping[str, Any], name: str) -> str:
    low, high = (f"{name}{end}" for end in BOUNDS)
    if low not in row or row[name] is None:
        return words.entry(row[name])
    return words.with_bounds(Interval(row[name], row[low], row[high]), words.entry)
