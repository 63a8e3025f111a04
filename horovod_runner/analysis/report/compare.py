"""The verb `compare`: two sets of results, cell by cell, in the terminal; the exit code says whether there is a
regression. How runs are paired stands in `pairs`, the rule of the verdicts in `verdicts`, the words in `compare.j2`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape

from horovod_runner.analysis.load import tables
from horovod_runner.analysis.load.learning import Unlearned, unlearned
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions.comparison.pairs import Pair, Paired, differences, framework, paired
from horovod_runner.analysis.questions.comparison.verdicts import IDENTICAL, INCONCLUSIVE, SAME, Verdict, judge, mean
from horovod_runner.analysis.report import terminal, words
from horovod_runner.analysis.report.sentences import told
from horovod_runner.errors import UserError
from horovod_runner.statistics import ratios
from horovod_runner.statistics.interval import LEVEL

EXIT_REGRESSION = 1
EXIT_CANNOT_BE_TOLD = 3
BETTER = "better"


def compare(
    older: Path,
    newer: Path,
    margin: float = 0.05,
    *,
    across_machines: bool = False,
    different_work: bool = False,
    strict: bool = False,
    console: Console | None = None,
) -> int:
    """Print how the runs below `newer` compare with those below `older`; return 1 if there is a regression, else 0.

    `strict`: return 3 if there is none, but of some figure it cannot be told whether it is one.

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
        raise UserError(
            f"no run of {older} completed whose counterpart in {newer} did; see horovod-runner report {older}"
        )
    show(found, verdicts, (str(older), str(newer)), margin, console or terminal.console())
    if any(verdict.regression for verdict in verdicts):
        return EXIT_REGRESSION
    untold = strict and any(verdict.word == INCONCLUSIVE for verdict in verdicts)
    return EXIT_CANNOT_BE_TOLD if untold else 0


def show(found: Paired, verdicts: Sequence[Verdict], names: tuple[str, str], margin: float, to: Console) -> None:
    """Print the tables, what was not the same, what could not be compared or shown, and the outcome in a sentence."""
    to.print(f"A: {escape(names[0])}\nB: {escape(names[1])}")
    for _, members in groupby(verdicts, key=lambda verdict: id(verdict.pair.group)):
        of_group = list(members)
        rows = [_row(verdict) for verdict in of_group]
        to.print(terminal.table(terminal.title(of_group[0].pair.group, named=False), rows, to))
    *lines, means, outcome = told("compare", found=Compared(found, verdicts), margin=margin)
    terminal.say(lines, to, "")
    to.print(f"[dim]{escape(means)}[/dim]")
    to.print(f"\n[bold]{escape(outcome)}[/bold]")


def _row(verdict: Verdict) -> dict[str, str]:
    figure, ratio, metric = verdict.figure, verdict.ratio, verdict.pair.newer[0].result.val_metric
    digits = words.amount if figure.rate else words.loss
    word = verdict.word.upper() if verdict.regression else verdict.word
    return {
        "framework": verdict.pair.framework,
        "workers": str(verdict.pair.workers),
        "figure": metric.name if metric and figure.name == "val metric" else figure.name,
        "A": digits(mean(figure, verdict.older)),
        "B": digits(mean(figure, verdict.newer)),
        "B/A": words.with_bounds(ratio, "{:.3f}".format),
        "p": _p(verdict),
        "samples": f"{len(verdict.older)} pairs" if verdict.by_seed else f"{len(verdict.older)}+{len(verdict.newer)}",
        "verdict": f"{word}\n(about {verdict.runs_needed} would)" if verdict.runs_needed else word,
    }


def _p(verdict: Verdict) -> str:
    """Return the p-value of the side that the ratio lies on."""
    if verdict.p_worse is None or verdict.p_better is None or verdict.ratio is None:
        return words.NOTHING
    p = verdict.p_better if (verdict.ratio.mean > 1) == verdict.figure.larger_is_better else verdict.p_worse
    return "<0.001" if p < 0.001 else f"{p:.3f}"


class Cells(NamedTuple):
    """Runs, and the names of the cells that they are of."""

    runs: Sequence[Run]

    @property
    def names(self) -> list[str]:
        """Workload, framework and workers of each."""
        return sorted({f"{run.result.workload} {framework(run)} {run.result.workers}" for run in self.runs})


class TooFew(NamedTuple):
    """Sizes of samples too small for any p-value below 0.05: what is a sample, and the least p that there can be."""

    older: int
    newer: int
    samples: Sequence[str]
    least: float


@dataclass(frozen=True)
class Compared:
    """What is said of two sets below their tables."""

    found: Paired
    verdicts: Sequence[Verdict]

    @property
    def different_work(self) -> list[tuple[Mapping[str, tuple[Any, Any]], Cells]]:
        """Settings that are not equal, which may be what made the difference, and where; each kind once."""
        changes: dict[str, tuple[Mapping[str, tuple[Any, Any]], list[Run]]] = {}
        for pair in self.found.pairs:
            if pair.differing:
                changes.setdefault(repr(pair.differing), (pair.differing, []))[1].append(pair.newer[0])
        return [(differing, Cells(runs)) for differing, runs in changes.values()]

    @property
    def not_the_same(self) -> Mapping[str, tuple[str, str]]:
        """What else differs between the sets."""
        return differences(self.found.pairs)

    @property
    def left_out(self) -> list[tuple[str, Cells]]:
        """The runs of each side that have no like on the other."""
        sides = {"A": self.found.only_older, "B": self.found.only_newer}
        return [(name, Cells(runs)) for name, runs in sides.items() if runs]

    @property
    def incomplete(self) -> Iterator[tuple[str, Pair, Mapping[str, int], int]]:
        """Side, pair, how many runs of it ended how, and of how many, where not all completed."""
        for pair in self.found.pairs:
            for side, runs in (("A", pair.older), ("B", pair.newer)):
                states = sorted(run.result.status for run in runs if not run.completed)
                if states:
                    yield side, pair, Counter(states), len(runs)

    @property
    def unlearned(self) -> Unlearned:
        """The compared runs that have not learned."""
        return unlearned(run for pair in self.found.pairs for run in (*pair.older, *pair.newer))

    @property
    def tested(self) -> int:
        """How many comparisons could be tested."""
        return sum(verdict.testable for verdict in self.verdicts)

    @property
    def compared(self) -> int:
        """How many figures both sides have."""
        return sum(verdict.ratio is not None for verdict in self.verdicts)

    @property
    def reach(self) -> int:
        """How many runs a side would do for so many comparisons."""
        return ratios.runs_to_reach(max(1, self.compared))

    @property
    def too_few(self) -> Iterator[TooFew]:
        """Every size of samples that is too small for any p-value to fall below 0.05."""
        compared = [v for v in self.verdicts if v.ratio is not None and not v.by_seed and v.word != IDENTICAL]
        by_size = groupby(sorted(_least_p(compared).items()), key=lambda entry: entry[0][:2])
        for (older, newer), entries in by_size:
            small = [(size[2], least) for size, least in entries if least >= LEVEL]
            if small:
                yield TooFew(older, newer, [sample for sample, _ in small], small[0][1])

    @property
    def regressions(self) -> list[Verdict]:
        """What the exit code is for."""
        return [verdict for verdict in self.verdicts if verdict.regression]

    @property
    def counted(self) -> Mapping[str, int]:
        """How many verdicts are identical, the same, inconclusive, or better."""
        counts = Counter(verdict.word for verdict in self.verdicts)
        told = {word: counts[word] for word in (IDENTICAL, SAME, INCONCLUSIVE)}
        return told | {BETTER: len(self.verdicts) - sum(told.values())}

    @property
    def single(self) -> bool:
        """Whether all have a single run on a side."""
        return all(min(len(verdict.older), len(verdict.newer)) < 2 for verdict in self.verdicts)


def _least_p(verdicts: Sequence[Verdict]) -> dict[tuple[int, int, str], float]:
    """Return the least corrected p-value of every size: what it would be if all comparisons came out at their least."""
    tested = [verdict for verdict in verdicts if verdict.testable]
    sizes = {id(verdict): (len(verdict.older), len(verdict.newer), verdict.figure.sample) for verdict in verdicts}
    least = {sizes[id(verdict)]: ratios.smallest_p(*sizes[id(verdict)][:2]) for verdict in verdicts}
    corrected = ratios.holm([least[sizes[id(verdict)]] for verdict in tested])
    return least | {sizes[id(verdict)]: p for verdict, p in zip(tested, corrected, strict=True)}
