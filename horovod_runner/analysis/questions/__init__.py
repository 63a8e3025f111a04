"""What a study asks of its runs' convergence: one module a question, each answered wherever runs vary what it is about.

A question's module has `answers(runs) -> list[Answer]` for the runs of one experiment, and returns none where they do
not vary its subject. Its numbers are pure, and its drawing is imported when a figure is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from horovod_runner.analysis.load.runs import Run

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

QUESTIONS: tuple[str, ...] = ("warmup", "enough", "rules", "targets", "noise", "converges", "ablation", "frameworks")
"""The questions' modules in this package, in the order in which a report answers them."""

OVER_STUDIES: tuple[str, ...] = ("across", "critical")
"""Those that take the runs of several experiments, `answers(studies) -> list[Answer]`."""


@dataclass(frozen=True)
class Answer:
    """What an experiment's runs say to one question: a section of the report.

    `name` is the stem of its files and differs from every other answer's of the experiment: `figures/<name>.svg` and
    `.png`, `tables/<name>.csv`. `sentences` are conclusions in words; each names its number, its interval, how many
    seeds it rests on, and what it does not show. `rows` are the table: flat, with values that JSON has; where `x`,
    `x_ci95_low` and `x_ci95_high` stand together, readers see `x [low, high]`. `draw` is called at most once, and
    imports matplotlib itself.
    """

    name: str
    title: str
    sentences: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    draw: Callable[[], Figure] | None = field(default=None, repr=False)

    @property
    def table(self) -> pandas.DataFrame:
        """The rows as readers see them, every value a text."""
        import pandas

        from horovod_runner.analysis.report import text_tables

        return pandas.DataFrame(text_tables.answer_rows(self.rows))

    def _repr_markdown_(self) -> str:
        """Return the conclusions as a notebook shows them."""
        return "\n".join((f"**{self.title}**\n", *(f"- {sentence}" for sentence in self.sentences)))


def answers(runs: Sequence[Run]) -> list[Answer]:
    """Return all answers that these runs, of one experiment, can give."""
    modules = (import_module(f"{__name__}.{name}") for name in QUESTIONS)
    return [answer for module in modules for answer in module.answers(runs)]


def over_studies(studies: Sequence[Sequence[Run]]) -> list[Answer]:
    """Return what several experiments say as one, each given as its runs."""
    modules = (import_module(f"{__name__}.{name}") for name in OVER_STUDIES)
    return [answer for module in modules for answer in module.answers(studies)]


def by_job(runs: Sequence[Run]) -> Iterator[tuple[tuple[str, ...], list[Run]]]:
    """Yield the runs of each job and machine, with the names to tell them apart by: none where there is one of each.

    Runs of different machines are never averaged together. Failed and timed-out runs are left out: they say nothing of
    convergence. A diverged one stays in; it is a result.
    """
    told = [run for run in runs if run.result.status in ("completed", "diverged")]
    places = [(run.result.workload, run.machine) for run in told]
    several = [len({place[part] for place in places}) > 1 for part in range(2)]
    for place in sorted(set(places)):
        members = [run for run, other in zip(told, places, strict=True) if other == place]
        yield tuple(name for name, told_apart in zip(place, several, strict=True) if told_apart), members
