"""Tables as readers see them, in the terminal, on the page and in notebooks: rows whose every value is a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from horovod_runner.analysis.load.groups import Cell, Group
from horovod_runner.analysis.report import words
from horovod_runner.statistics.interval import Interval, times

if TYPE_CHECKING:
    from horovod_runner.analysis.questions.strategies import Comparison, Variant

LEFT = ("framework", "strategy", "arm", "rule", "status", "settings", "verdict", "workload")
BREAKDOWN_TITLE = "Step breakdown by Horovod's timeline, as rank 0 saw it, in ms"


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
    """Return the row of compute-only workers; their step is the slowest one's."""
    step = next((variant.step_seconds - variant.exposed.mean for variant in variants if variant.exposed), None)
    row = {
        "strategy": "none, compute-only",
        "images/s": words.with_bounds(compute_only.images_per_second),
        "of compute-only": "1",
    }
    row |= {"step ms": words.milliseconds(step)}
    return row | {"exposed ms": words.NOTHING, "exposed %": words.NOTHING, "overlapped %": words.NOTHING}


def _variant_row(variant: Variant) -> dict[str, str]:
    exposed = times(variant.exposed, 1000) if variant.exposed else None
    return {
        "strategy": f"{variant.name}{words.TRACED if variant.traced else ''}",
        "images/s": words.with_bounds(variant.images_per_second),
        "of compute-only": words.with_bounds(variant.of_compute_only),
        "step ms": words.milliseconds(variant.step_seconds),
        "exposed ms": words.with_bounds(exposed),
        "exposed %": words.percent(variant.exposed_share.mean if variant.exposed_share else None),
        "overlapped %": _whole_percent(variant.overlapped),
    }


def _last_ready(counts: Sequence[int]) -> str:
    """Return the rank that came last most often, and to how many of the negotiations that waited for a single one."""
    if not any(counts):
        return words.NOTHING
    most = max(counts)
    return f"{counts.index(most)}: {most:,} of {sum(counts):,}"


def _whole_percent(interval: Interval | None) -> str:
    if interval is None:
        return words.NOTHING
    low, high = interval.ci95_low, interval.ci95_high
    told = f"[{words.NOTHING}]" if low is None or high is None else f"[{100 * low:.0f}, {100 * high:.0f}]"
    return f"{100 * interval.mean:.0f} {told}"


def breakdown_rows(comparison: Comparison) -> list[dict[str, str]]:
    """Return the table of step breakdowns by Horovod's timeline, in milliseconds a step."""
    made = []
    for variant in comparison.broken_down:
        breakdown = variant.breakdown
        assert breakdown is not None
        row = {"framework": variant.framework, "workers": str(variant.workers), "strategy": variant.name}
        row |= {"step ms": words.milliseconds(breakdown.step_seconds)}
        row |= {phase: words.milliseconds(seconds) for phase, seconds in breakdown.seconds.items()}
        made.append(row | {"last ready": _last_ready(breakdown.last_ready)})
    return made


def answer_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return a question's table as texts; a value whose bounds stand beside it becomes `value [low, high]`."""
    return [
        {name.replace("_", " "): _with_its_bounds(row, name) for name in row if not name.endswith(words.BOUNDS)}
        for row in rows
    ]


def _with_its_bounds(row: Mapping[str, Any], name: str) -> str:
    text, low, high = words.entry(row[name]), *(f"{name}{end}" for end in words.BOUNDS)
    if low not in row or row[name] is None:
        return text
    return (
        f"{text} [{words.NOTHING}]"
        if row[low] is None
        else f"{text} [{words.entry(row[low])}, {words.entry(row[high])}]"
    )


def group_rows(groups: Sequence[Group]) -> list[dict[str, str]]:
    """Return one table of many groups, a row a cell: the settings that tell them apart, and how its runs ended."""
    keys = list(dict.fromkeys(key for group in groups for key in group.distinct))
    return [_group_row(group, cell, keys) for group in groups for cell in group.cells]


def _group_row(group: Group, cell: Cell, keys: Sequence[str]) -> dict[str, str]:
    row = {"workload": words.job(group.workload), "framework": cell.framework, "workers": words.workers(cell)}
    row |= {"batch": str(cell.global_batch)} | {key: words.entry(group.distinct.get(key)) for key in keys}
    row |= {"images/s": words.UNTIMED if cell.untimed else words.with_bounds(cell.images_per_second)}
    row |= {
        "train loss": words.loss(cell.mean("final_train_loss")),
        "val loss": words.loss(cell.mean("final_val_loss")),
    }
    return row | {"val metric": words.loss(cell.mean("final_val_metric")), "status": cell.status}
