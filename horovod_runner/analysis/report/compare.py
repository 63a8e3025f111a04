"""The verb `compare`: two sets of results, cell by cell, in the terminal; the exit code says whether there is a
regression. How runs are paired stands in `pairs`, the rule of the verdicts in `verdicts`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from horovod_runner.analysis.load import tables
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions.comparison.pairs import Pair, differences, framework, paired
from horovod_runner.analysis.questions.comparison.verdicts import INCONCLUSIVE, LOST, SAME, Verdict, judge, mean
from horovod_runner.analysis.report import terminal, words
from horovod_runner.errors import UserError
from horovod_runner.statistics import ratios
from horovod_runner.statistics.interval import LEVEL, Interval

if TYPE_CHECKING:
    from horovod_runner.analysis.questions.comparison.pairs import Paired

EXIT_REGRESSION = 1
COLUMNS = ("framework", "workers", "figure", "A", "B", "B/A", "[95 % CI]", "p", "samples", "verdict")
PAIRED = (("framework", "workers"), ("figure", "samples"), ("A", "B"), ("B/A", "p"), ("[95 % CI]",), ("verdict",))
MOST_NAMED = 3  # of the runs, or settings, that a line names


def compare(
    older: Path,
    newer: Path,
    margin: float = 0.05,
    *,
    across_machines: bool = False,
    different_work: bool = False,
    console: Console | None = None,
) -> int:
    """Print how the runs below `newer` compare with those below `older`; return 1 if there is a regression, else 0.

    Each is a results folder, an experiment's or a run's, loose or packed. `margin` is a fraction: a ratio between
    1 - margin and 1 + margin is no difference. UserError when there is nothing to compare, and when the machines or
    the work differ and it was not said that they may.
    """
    if not 0 <= margin < 1:
        raise UserError(f"--margin {margin:g}: give a fraction from 0 to below 1, for example 0.05 for 5 %")
    found = paired(
        tables.read(older),
        tables.read(newer),
        (str(older), str(newer)),
        across_machines=across_machines,
        different_work=different_work,
    )
    verdicts = judge(found.pairs, margin)
    if not verdicts:
        raise UserError(f"no run of {older} completed whose like in {newer} did; see horovod-runner report {older}")
    show(found, verdicts, (str(older), str(newer)), margin, console or terminal.console())
    return EXIT_REGRESSION if any(verdict.regression for verdict in verdicts) else 0


def show(found: Paired, verdicts: Sequence[Verdict], names: tuple[str, str], margin: float, to: Console) -> None:
    """Print the tables, what was not the same, what could not be compared or shown, and the outcome in a sentence."""
    to.print(f"A: {escape(names[0])}\nB: {escape(names[1])}")
    for _, members in groupby(verdicts, key=lambda verdict: id(verdict.pair.group)):
        to.print(_table(list(members), to.width >= terminal.WIDE), no_wrap=True)
    lines = [*_differences(found.pairs), *_left_out(found), *_incomplete(found.pairs), *_too_few(verdicts)]
    for line in lines:
        to.print(escape(line))
    to.print(f"[dim]{escape(_means(verdicts, margin))}[/dim]")
    to.print(f"\n[bold]{escape(_outcome(verdicts, margin))}[/bold]")


def _table(verdicts: Sequence[Verdict], wide: bool) -> Table:
    group = verdicts[0].pair.group
    apart = words.settings(group.distinct)
    title = f"\n[bold]{escape(words.job(group.workload))}[/bold], {words.scaling(group)}"
    title += escape(f"; {apart}" if apart else "")
    table = Table(title=title, title_justify="left", title_style="", box=box.SIMPLE_HEAD, pad_edge=False)
    table.padding = (0, 0, 0, 1)
    shape = [(name,) for name in COLUMNS] if wide else PAIRED
    for names in shape:
        left = names[0] in ("framework", "figure", "verdict")
        table.add_column("\n".join(names), justify="left" if left else "right", no_wrap=True)
    for verdict in verdicts:
        row = _row(verdict)
        table.add_row(*(escape("\n".join(row[name] for name in names)) for names in shape))
    return table


def _row(verdict: Verdict) -> dict[str, str]:
    figure, ratio, metric = verdict.figure, verdict.ratio, verdict.pair.newer[0].result.val_metric
    digits = words.amount if figure.rate else words.loss
    return {
        "framework": verdict.pair.framework,
        "workers": str(verdict.pair.workers),
        "figure": metric.name if metric and figure.name == "val metric" else figure.name,
        "A": digits(mean(figure, verdict.older)),
        "B": digits(mean(figure, verdict.newer)),
        "B/A": words.NOTHING if ratio is None else f"{ratio.mean:.3f}",
        "[95 % CI]": _bounds(ratio),
        "p": _p(verdict),
        "samples": f"{len(verdict.older)}+{len(verdict.newer)}",
        "verdict": _word(verdict),
    }


def _bounds(ratio: Interval | None) -> str:
    if ratio is None or ratio.ci95_low is None or ratio.ci95_high is None:
        return f"[{words.NOTHING}]"
    return f"[{ratio.ci95_low:.3f}, {ratio.ci95_high:.3f}]"


def _p(verdict: Verdict) -> str:
    """Return the p-value of the side that the ratio lies on."""
    if verdict.p_worse is None or verdict.p_better is None or verdict.ratio is None:
        return words.NOTHING
    p = verdict.p_better if (verdict.ratio.mean > 1) == verdict.figure.larger_is_better else verdict.p_worse
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _word(verdict: Verdict) -> str:
    word = verdict.word.upper() if verdict.regression else verdict.word
    return f"{word}\n(about {verdict.runs_needed} would)" if verdict.runs_needed else word


def _differences(pairs: Sequence[Pair]) -> Iterator[str]:
    """Yield what was not the same between the sets, settings first: it may be what made the difference."""
    changes: dict[str, list[Run]] = defaultdict(list)
    for pair in pairs:
        if pair.differing:
            told = ", ".join(f"{name} {_change(values)}" for name, values in pair.differing.items())
            changes[told].append(pair.newer[0])
    for told, runs in changes.items():
        yield f"Different work ({_cells(runs)}): {told}."
    for name, values in differences(pairs).items():
        yield f"Not the same: {name}: {_change(values)}."


def _change(values: tuple[Any, Any]) -> str:
    one, other = (words.NOTHING if value is None else words.without_paths(str(value)) for value in values)
    return f"{one} → {other}"


def _left_out(found: Paired) -> Iterator[str]:
    for name, runs in (("A", found.only_older), ("B", found.only_newer)):
        if runs:
            yield f"Only in {name}, and not compared: {words.count(len(runs), 'run')} ({_cells(runs)})."


def _cells(runs: Sequence[Run]) -> str:
    cells = sorted({f"{run.result.workload} {framework(run)} {run.result.workers}" for run in runs})
    more = len(cells) - MOST_NAMED
    return ", ".join(cells[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _incomplete(pairs: Sequence[Pair]) -> Iterator[str]:
    for pair in pairs:
        for name, runs in (("A", pair.older), ("B", pair.newer)):
            states = [run.result.status for run in runs if not run.completed]
            if states:
                counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states)))
                yield f"Not completed in {name}, and in no figure: {_cell(pair)}: {counts} of {len(runs)}."


def _cell(pair: Pair) -> str:
    return f"{pair.group.workload} {pair.framework} {pair.workers}"


def _too_few(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Yield a line for every size of samples that is too small for any p-value to fall below 0.05."""
    compared = [verdict for verdict in verdicts if verdict.ratio is not None]
    reach = ratios.runs_to_reach(max(1, len(compared)))
    by_size = groupby(sorted(_least_p(compared).items()), key=lambda entry: entry[0][:2])
    for (older, newer), entries in by_size:
        small = [(size[2], least) for size, least in entries if least >= LEVEL]
        if small:
            samples = " or ".join(f"{sample}s" for sample, _ in small)
            yield (
                f"With {older} and {newer} {samples} no p below {small[0][1]:.2g} is possible here, so nothing can be"
                f" shown to be worse or better; {reach} and {reach} would do for {_comparisons(len(compared))}."
            )


def _least_p(verdicts: Sequence[Verdict]) -> dict[tuple[int, int, str], float]:
    """Return the least corrected p-value of every size: what it would be if all comparisons came out at their least."""
    tested = [verdict for verdict in verdicts if verdict.testable]
    sizes = {id(verdict): (len(verdict.older), len(verdict.newer), verdict.figure.sample) for verdict in verdicts}
    least = {sizes[id(verdict)]: ratios.smallest_p(*sizes[id(verdict)][:2]) for verdict in verdicts}
    corrected = ratios.holm([least[sizes[id(verdict)]] for verdict in tested])
    return least | {sizes[id(verdict)]: p for verdict, p in zip(tested, corrected, strict=True)}


def _percent(fraction: float) -> str:
    return f"{100 * fraction:g} %"


def _comparisons(number: int) -> str:
    return words.count(number, "comparison")


def _means(verdicts: Sequence[Verdict], margin: float) -> str:
    """Say what the columns are and what the verdicts rest on."""
    tested = sum(verdict.testable for verdict in verdicts)
    return (
        "B/A: ratio of the means; in brackets its bootstrap 95 % interval, in which a run is one sample (of losses and"
        " metrics a seed), and of a single run a side the one from blocks of its steps, which says nothing of"
        " another run. p: one-sided rank test (Mann-Whitney) that B is"
        f" {_percent(margin)} and more beyond A on the ratio's side,"
        f" corrected (Holm) for the {_comparisons(tested)} that could be tested. same: the whole interval lies within"
        f" {1 - margin:g} and {1 + margin:g}."
    )


def _outcome(verdicts: Sequence[Verdict], margin: float) -> str:
    """Return the sentence that the exit code stands for."""
    regressions = [verdict for verdict in verdicts if verdict.regression]
    total = _comparisons(len(verdicts))
    if regressions:
        named = "; ".join(_regression(verdict) for verdict in regressions[:MOST_NAMED])
        more = len(regressions) - MOST_NAMED
        return f"Regression beyond {_percent(margin)} in {len(regressions)} of {total}: {named}" + (
            f" and {more} more." if more > 0 else "."
        )
    same, open_ones = (sum(verdict.word == word for verdict in verdicts) for word in (SAME, INCONCLUSIVE))
    told = f"{same} the same, {len(verdicts) - same - open_ones} better, {open_ones} cannot be told"
    single = all(min(len(verdict.older), len(verdict.newer)) < 2 for verdict in verdicts)
    why = "; a single run a side shows no regression: repeat them" if single else ""
    return f"No regression beyond {_percent(margin)} was shown in {total}: {told}{why}."


def _regression(verdict: Verdict) -> str:
    if verdict.word == LOST or verdict.ratio is None:
        return f"{_cell(verdict.pair)}: no run completed"
    return f"{_cell(verdict.pair)} {verdict.figure.name} {verdict.ratio.mean:.3f} {_bounds(verdict.ratio)}"
