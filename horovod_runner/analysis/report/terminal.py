"""The report's tables in the terminal: one for each group of runs, one row a cell of the matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from horovod_runner.analysis.load.groups import Cell, Group, all_runs
from horovod_runner.analysis.questions.scaling.causes import slow_worker
from horovod_runner.analysis.questions.scaling.study import studies
from horovod_runner.analysis.questions.strategies import Comparison, comparisons, told
from horovod_runner.analysis.report import text_tables, words
from horovod_runner.analysis.report.answers import Answer
from horovod_runner.machine import terminal

WIDE = 132  # columns of a terminal in which every figure has a column of its own
PAIRED = (  # in a narrower one, the second stands below the first
    ("framework", "status"),
    ("workers", "batch"),
    ("images/s", "interval"),
    ("speedup", "its interval"),
    ("efficiency", "metric"),
    ("step ms", "wait %"),
    ("train loss", "val loss"),
)
STACKED = {"framework": "strategy", "workers": "step ms", "negotiating": "queueing"}  # in tables of strategies
INTERVAL = "[95 % CI]"
WIDE_HEADS = {"efficiency": "{scaling}\neff.", "interval": INTERVAL, "its interval": INTERVAL}
WIDE_HEADS |= {"step ms": "step\nms", "wait %": "wait\n%", "train loss": "train\nloss", "val loss": "val\nloss"}
HEADS = {"efficiency": "eff.", "interval": INTERVAL, "its interval": INTERVAL, "train loss": "train"}


def console() -> Console:
    """Return a console for standard output, which is as wide as it likes where no terminal says otherwise."""
    return terminal.console(WIDE)


def show(groups: Sequence[Group], to: Console) -> None:
    """Print every group's table, the runs that did not complete with their reason, and what the figures mean."""
    if not groups:
        return
    for group in groups:
        to.print(_table(group, to.width), no_wrap=True)
        for run in group.runs:
            if not run.completed:
                reason = words.without_paths(run.result.error or "no reason was recorded")
                to.print(f" {run.result.status}: {escape(run.result.run_id)}: {escape(reason)}")
        for made in studies(group):
            to.print(f" {escape(words.scaling_line(made))}")
        for sentence in filter(None, map(slow_worker, group.cells)):
            to.print(f" {escape(sentence)}")
    compared = comparisons(groups)
    for comparison in compared:
        _show_strategies(comparison, to)
    untimed = any(cell.untimed for group in groups for cell in group.cells)
    to.print(f"[dim]{escape(' '.join(words.meanings(strategies=bool(compared), untimed=untimed)))}[/dim]")


def show_answers(experiment: str, answers: Sequence[Answer], instead_of: Sequence[Group], to: Console) -> None:
    """Print the answers to an experiment's questions, and how many groups of runs they stand for in their stead."""
    for answer in answers:
        to.print(f"\n[bold]{escape(experiment)}: {escape(answer.title)}[/bold]")
        for sentence in answer.sentences:
            to.print(f" - {escape(sentence)}")
    if instead_of:
        runs = all_runs(instead_of)
        states = ", ".join(f"{number:,} {state}" for state, number in words.statuses(runs))
        shown = f"{len(instead_of):,} groups of settings, {words.count(len(runs), 'run')}: {states}"
        to.print(f"\n{escape(experiment)}: {shown}; the page and tables/cells.csv have a row for each.")


def _show_strategies(comparison: Comparison, to: Console) -> None:
    """Print strategies side by side, their step breakdown by the timeline, and which is the fastest."""
    wide = to.width >= WIDE
    to.print(_plain_table(_strategies_title(comparison), text_tables.strategy_rows(comparison), wide), no_wrap=True)
    if comparison.broken_down:
        to.print(_plain_table(text_tables.BREAKDOWN_TITLE, text_tables.breakdown_rows(comparison), wide), no_wrap=True)
    for sentence in told(comparison):
        to.print(f" {escape(sentence)}")


def _strategies_title(comparison: Comparison) -> str:
    group, apart = comparison.group, words.settings(comparison.group.distinct)
    named = f"[bold]{escape(group.experiment)}: {escape(words.job(group.workload))}[/bold], {words.scaling(group)}"
    return f"\n{named}{escape(f'; {apart}' if apart else '')}: exposed communication"


def _plain_table(title: str, rows: Sequence[Mapping[str, str]], wide: bool) -> Table:
    """Return a table of texts; in a narrow terminal, some columns and all intervals stand below others."""
    table = Table(title=title, title_justify="left", title_style="", box=box.SIMPLE_HEAD, pad_edge=False)
    table.padding = (0, 0, 0, 1)
    for name in (rows if wide else [_stacked(row) for row in rows])[0]:
        justify: Literal["left", "right"] = "left" if name.split("\n")[0] in text_tables.LEFT else "right"
        table.add_column(name.replace(" ", "\n", 1) if wide else name, justify=justify, no_wrap=True)
    for row in rows:
        table.add_row(*map(escape, (row if wide else _stacked(row)).values()))
    return table


def _stacked(row: Mapping[str, str]) -> dict[str, str]:
    below = {*STACKED.values(), "exposed %"}
    single = {name: text.replace(" [", "\n[") for name, text in row.items() if name not in below}
    pairs = {name: other for name, other in STACKED.items() if name in row and other in row}
    heads = {name: f"{name}\n{pairs[name]}" if name in pairs else name.replace(" ", "\n", 1) for name in single}
    texts = {name: f"{text}\n{row[pairs[name]]}" if name in pairs else text for name, text in single.items()}
    return {heads[name]: texts[name] for name in single}


def _table(group: Group, width: int) -> Table:
    wide = width >= WIDE
    rows = [_row(group, cell) for cell in group.cells]
    table = Table(title=_title(group), title_justify="left", title_style="", box=box.SIMPLE_HEAD, pad_edge=False)
    table.padding = (0, 0, 0, 1)
    for names in [(name,) for name in rows[0]] if wide else PAIRED:
        heads = WIDE_HEADS if wide else HEADS
        text = "\n".join(heads.get(name, name) for name in names).format(scaling=group.scaling)
        table.add_column(text, justify="left" if names[0] in ("framework", "status") else "right", no_wrap=True)
    for row in rows:
        table.add_row(*_texts(row, wide))
    return table


def _title(group: Group) -> str:
    apart = words.settings(group.distinct)
    named = f"[bold]{escape(group.experiment)}: {escape(words.job(group.workload))}[/bold], {words.scaling(group)}"
    metric = f"; metric: {group.metric}" if group.metric else ""
    return f"\n{named}{escape(f'; {apart}' if apart else '')}{escape(metric)}"


def _texts(row: Mapping[str, str], wide: bool) -> list[str]:
    if wide:
        return [escape(text) for text in row.values()]
    return [escape("\n".join(row[name] for name in names)) for names in PAIRED]


def _row(group: Group, cell: Cell) -> dict[str, str]:
    speed, gain, part = cell.images_per_second, cell.speedup, cell.efficiency
    return {
        "framework": cell.framework,
        "workers": words.workers(cell),
        "batch": str(cell.global_batch),
        "images/s": words.speed(cell),
        "interval": words.bounds(speed),
        "speedup": words.amount(gain.mean if gain else None),
        "its interval": "baseline" if cell.workers == cell.baseline_workers else words.bounds(gain),
        "efficiency": f"{part.mean:.2f}" if part else words.NOTHING,
        "step ms": words.milliseconds(cell.mean("step_seconds.median")),
        "wait %": words.percent(cell.mean("data_wait_fraction")),
        "train loss": words.loss(cell.mean("final_train_loss")),
        "val loss": words.loss(cell.mean("final_val_loss")),
        "metric": words.loss(cell.mean("final_val_metric")),
        "status": cell.status.replace(", ", "\n"),
    }
