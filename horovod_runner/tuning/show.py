"""The table of all candidates that a search ends with."""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from horovod_runner.statistics.elimination import paired_ratio
from horovod_runner.statistics.interval import Interval
from horovod_runner.tuning.ledger import Ledger
from horovod_runner.tuning.search import Outcome
from horovod_runner.tuning.space import DEFAULT, Candidate

NOTE = (
    "Times as fast as the default: geometric means of ratios within rounds, each with its own 95 % interval (Student's"
    " t). The fastest of many looks faster than it is: only fresh rounds judge it."
)


def table(ledger: Ledger, outcome: Outcome, dropped: Mapping[Candidate, str], to: Console) -> None:
    """Print a row a candidate, the fastest first and those that failed last, and one for the fresh rounds."""
    rounds = [row.rates() for row in ledger.rounds if row.whole and row.stage != "verdict"]
    every = dict.fromkeys(run.key for row in ledger.rounds if row.whole for run in row.runs)
    ratios = {candidate: paired_ratio(rounds, candidate, DEFAULT) for candidate in every if candidate != DEFAULT}
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("candidate", "rounds", "times as fast", "[95 % CI]", ""):
        shown.add_column(escape(title), justify="right" if title in ("rounds", "times as fast") else "left")
    shown.add_row("default", str(len(rounds)), "1", "", "measured in every round")
    for candidate, ratio in sorted(ratios.items(), key=_fastest_first):
        count = sum(candidate in row for row in rounds)
        shown.add_row(escape(candidate.name), str(count), *_cells(ratio), escape(dropped.get(candidate, "")))
    if outcome.judged is not None and outcome.ratio is not None:
        count = sum(row.whole and row.stage == "verdict" for row in ledger.rounds)
        judged = "chosen" if outcome.winner == outcome.judged else "indistinguishable from the default"
        name = f"{outcome.judged.name}, fresh rounds"
        shown.add_row(escape(name), str(count), *_cells(outcome.ratio), judged, style="bold")
    to.print(shown)
    to.print(f"[dim]{NOTE}[/dim]")


def _fastest_first(item: tuple[Candidate, Interval | None]) -> float:
    return 0.0 if item[1] is None else -item[1].mean


def _cells(ratio: Interval | None) -> tuple[str, str]:
    if ratio is None:
        return "", ""
    bounds = "" if ratio.ci95_low is None else f"[{ratio.ci95_low:.3f}, {ratio.ci95_high:.3f}]"
    return f"{ratio.mean:.3f}", escape(bounds)
