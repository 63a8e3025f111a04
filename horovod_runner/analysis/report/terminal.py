"""The report's tables in the terminal: one for each group of runs, one row a cell of the matrix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from horovod_runner.analysis.load.groups import Group, all_runs
from horovod_runner.analysis.load.learning import unlearned
from horovod_runner.analysis.questions.scaling.causes import stragglers
from horovod_runner.analysis.questions.scaling.study import studies
from horovod_runner.analysis.questions.strategies import Comparison, comparisons, rankings
from horovod_runner.analysis.report import text_tables, words
from horovod_runner.analysis.report.answers import Answer
from horovod_runner.analysis.report.head import Head
from horovod_runner.analysis.report.sentences import told
from horovod_runner.machine import terminal

WIDE = 132  # columns of a terminal in which every figure has a column of its own
BELOW = {  # in a narrower one, a figure stands below another, and an interval below its mean
    "framework": ("status", "strategy"),
    "workers": ("batch",),
    "efficiency": ("metric",),
    "step ms": ("wait %",),
    "train loss": ("val loss",),
    "negotiating": ("queueing",),
    "figure": ("samples",),
    "A": ("B",),
}
LEFT_OUT = ("exposed %",)  # and this is told by another
INTERVAL = "[95 % CI]"
HEADS = {"efficiency": "eff."}
NARROW_HEADS = HEADS | {"train loss": "train"}


def console() -> Console:
    """Return a console for standard output, which is as wide as it likes where no terminal says otherwise."""
    return terminal.console(WIDE)


def show(groups: Sequence[Group], to: Console) -> None:
    """Print every group's table, the runs that did not complete with their reason, and what the figures mean."""
    if not groups:
        return
    for group in groups:
        metric = f"metric: {group.metric}" if group.metric else ""
        to.print(table(title(group, metric), text_tables.cell_rows(group), to))
        for run in group.runs:
            if not run.completed:
                reason = words.without_paths(run.result.error or "no reason was recorded")
                to.print(f" {run.result.status}: {escape(run.result.run_id)}: {escape(reason)}")
        say(told("questions/learned", found=unlearned(group.completed)), to)
        for made in studies(group):
            say(told("questions/scaling", found=made, short=True), to)
        say(told("questions/straggler", stragglers=stragglers(group.cells)), to)
    compared = comparisons(groups)
    for comparison in compared:
        _show_strategies(comparison, to)
    untimed = any(cell.untimed for group in groups for cell in group.cells)
    to.print(f"[dim]{escape(' '.join(told('meanings', strategies=bool(compared), untimed=untimed)))}[/dim]")


def show_answers(experiment: str, answers: Sequence[Answer], instead_of: Sequence[Group], to: Console) -> None:
    """Print the answers to an experiment's questions, and how many groups of runs they stand for in their stead."""
    for answer in answers:
        to.print(f"\n[bold]{escape(experiment)}: {escape(answer.title)}[/bold]")
        say(answer.sentences, to, " - ")
    if instead_of:
        runs = all_runs(instead_of)
        to.print()
        say(told("shown", experiment=experiment, groups=instead_of, runs=runs, states=words.statuses(runs)), to, "")


def show_head(head: Head, to: Console) -> None:
    """Print what a study asked, its answers in a sentence each, and how sure they are."""
    if not head.answers:
        return
    to.print(f"\n[bold]{escape(head.experiment)}[/bold]{escape(f': {head.asked}' if head.asked else '')}")
    for answer in head.answers:
        to.print(f" [bold]{escape(answer.title)}[/bold] {escape(answer.short)}")
    to.print(f"[dim]{escape(' '.join(told('head', found=head)))}[/dim]")


def say(sentences: Iterable[str], to: Console, before: str = " ") -> None:
    """Print sentences, a line each."""
    for sentence in sentences:
        to.print(f"{before}{escape(sentence)}")


def title(group: Group, *more: str, named: bool = True) -> str:
    """Return the title of a group's table; `named`: with its experiment."""
    rest = [text for text in (words.settings(group.distinct), *more) if text]
    job = f"{group.experiment}: {words.job(group.workload)}" if named else words.job(group.workload)
    return f"\n[bold]{escape(job)}[/bold], {words.scaling(group)}{escape(''.join(f'; {text}' for text in rest))}"


def table(title: str, rows: Sequence[Mapping[str, str]], to: Console) -> Table:
    """Return a table of texts for this console; in a narrow one, some columns and all intervals stand below others."""
    made = Table(title=title, title_justify="left", title_style="", box=box.SIMPLE_HEAD, pad_edge=False)
    made.padding = (0, 0, 0, 1)
    wide = to.width >= WIDE
    for names in _columns(rows[0], wide):
        heads = [HEADS.get(names[0], names[0]).replace(" ", "\n", 1)] if wide else _narrow_heads(names)
        heads += [INTERVAL] if any("[" in row[name] for row in rows for name in names) else []
        left = names[0] in text_tables.LEFT
        made.add_column("\n".join(heads), justify="left" if left else "right", no_wrap=True)
    for row in rows:
        made.add_row(*(escape(_text([row[name] for name in names], wide)) for names in _columns(row, wide)))
    return made


def _narrow_heads(names: Sequence[str]) -> list[str]:
    return [NARROW_HEADS.get(name, name) for name in names]


def _columns(row: Mapping[str, str], wide: bool) -> list[list[str]]:
    """Return the names that stand in each column, one below another."""
    if wide:
        return [[name] for name in row]
    placed = {below for name, those in BELOW.items() if name in row for below in those} | set(LEFT_OUT)
    return [[name, *(n for n in BELOW.get(name, ()) if n in row)] for name in row if name not in placed]


def _text(texts: Sequence[str], wide: bool) -> str:
    text = "\n".join(texts)
    return text if wide else text.replace(" [", "\n[")


def _show_strategies(comparison: Comparison, to: Console) -> None:
    """Print strategies side by side, how their steps divide by the timeline, and which is the fastest."""
    to.print(table(title(comparison.group, "exposed communication"), text_tables.strategy_rows(comparison), to))
    if divided := text_tables.breakdown_rows(comparison):
        to.print(table(text_tables.BREAKDOWN_TITLE, divided, to))
    say(told("questions/strategies", found=rankings(comparison)), to)
