"""Findings as answers: the words of a question's template, its table and its figure, wherever they are shown.

Every sentence of a template (`templates/questions/<question>.j2`) names its number, its interval, how many seeds it
rests on, and what it does not show.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from horovod_runner.analysis import questions
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions import Finding
from horovod_runner.analysis.report import words
from horovod_runner.analysis.report.sentences import SHORT, marked, told

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

FIGURES = {
    "warmup": "warmup.curves_of",
    "warmup-enough": "warmup.finals_of",
    "learning-rate": "forests.of_rules",
    "targets": "targets.figure_of",
    "noise": "noise.figure_of",
    "converges": "converges.sheet_of",
    "ablation": "forests.of_arms",
    "frameworks": "forests.of_frameworks",
    "across": "forests.of_studies",
    "critical": "noise.beside_critical",
    "prediction": "prediction.figure_of",
}
"""Where in `plots` the figure of a question's finding is drawn; a question that is not here has none."""


@dataclass(frozen=True)
class Answer:
    """An answer to one question: a section of the report."""

    finding: Finding

    @property
    def name(self) -> str:
        """The stem of its files."""
        return "-".join(map(words.file_part, self.finding.stem))

    @cached_property
    def _marked(self) -> list[tuple[str, str]]:
        return marked(f"questions/{self.finding.question}", found=self.finding)

    @property
    def _told(self) -> list[str]:
        title, *rest = [text for mark, text in self._marked if mark != SHORT]
        return [title, *self._unlearned, *rest]

    @cached_property
    def _unlearned(self) -> list[str]:
        return told("questions/learned", found=self.finding.unlearned)

    @property
    def title(self) -> str:
        """The question."""
        return self._told[0]

    @property
    def short(self) -> str:
        """The answer in a sentence or two; the first conclusion, where the question has none that is shorter."""
        short = [text for mark, text in self._marked if mark == SHORT and text]
        return " ".join([*self._unlearned, *(short or self.sentences[len(self._unlearned) :][:1])])

    @property
    def sentences(self) -> tuple[str, ...]:
        """The conclusions."""
        return tuple(self._told[1:])

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """The table, see `Finding.rows`."""
        return self.finding.rows

    @property
    def draw(self) -> Callable[[], Figure] | None:
        """What draws the figure; None where there is none. To ask for it does not import matplotlib."""
        if self.finding.question not in FIGURES or not self.finding.drawn:
            return None
        return partial(_draw, self.finding)

    @property
    def table(self) -> pandas.DataFrame:
        """The rows as readers see them, every value a text."""
        import pandas

        from horovod_runner.analysis.report import text_tables

        return pandas.DataFrame(text_tables.answer_rows(self.rows))

    def __repr__(self) -> str:
        return f"Answer({self.name!r})"

    def _repr_markdown_(self) -> str:
        """Return the conclusions as a notebook shows them."""
        return "\n".join((f"**{self.title}**\n", *(f"- {sentence}" for sentence in self.sentences)))


def answers(runs: Sequence[Run]) -> list[Answer]:
    """Return all answers that these runs, of one experiment, can give."""
    return [answer for name in questions.QUESTIONS for answer in answered(_module(name), runs)]


def over_studies(studies: Sequence[Sequence[Run]]) -> list[Answer]:
    """Return what several experiments say as one, each given as its runs."""
    return [answer for name in questions.OVER_STUDIES for answer in answered(_module(name), studies)]


def answered(question: ModuleType, runs: Sequence[Any]) -> list[Answer]:
    """Return the answers to one question."""
    return [Answer(finding) for finding in question.findings(runs)]


def _module(name: str) -> ModuleType:
    return import_module(f"{questions.__name__}.{name}")


def _draw(finding: Finding) -> Figure:
    module, _, function = FIGURES[finding.question].partition(".")
    figure: Figure = getattr(import_module(f"horovod_runner.analysis.plots.{module}"), function)(finding)
    return figure
