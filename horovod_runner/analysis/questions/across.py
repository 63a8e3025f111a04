"""Does the framework matter, over several studies? One line a study and figure, in units of the margin it stated."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from horovod_runner.analysis.load.groups import bounds
from horovod_runner.analysis.load.learning import Unlearned, unlearned
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions import Finding, frameworks
from horovod_runner.analysis.questions.frameworks import RATIO, FrameworkComparison, Pooled
from horovod_runner.analysis.questions.target_study import finite
from horovod_runner.statistics.interval import Interval, logarithm, times


class Verdict(StrEnum):
    """What a study shows of one figure."""

    EQUIVALENT = "equivalent within the margin"
    SMALL = "equivalent within the margin, and differ"
    DIFFER = "differ"
    INCONCLUSIVE = "neither is shown"


@dataclass(frozen=True)
class StudyDifference:
    """One study's differences in one figure, over its settings; `margin` as it stated it.

    `stated_first` says whether it is on record that this was before the first run.
    """

    study: str
    frameworks: tuple[str, str]
    figure: str
    pooled: Pooled
    margin: float | None
    stated_first: bool
    step: float | None = None
    unlearned: Unlearned = field(default_factory=Unlearned)

    @property
    def in_margins(self) -> Interval | None:
        """The difference in units of the margin, a ratio's on the logarithmic scale; None without a margin."""
        if self.margin is None:
            return None
        if self.figure != RATIO:
            return times(self.pooled.mean, 1 / self.margin)
        return times(logarithm(self.pooled.mean), 1 / math.log(self.margin))

    @property
    def settings_in_margins(self) -> list[float]:
        """The settings' own differences likewise; those without bound are left to the counts."""
        if self.margin is None:
            return []
        if self.figure != RATIO:
            return [setting / self.margin for setting in self.pooled.settings]
        logs = [logarithm(Interval(setting, None, None)).mean for setting in self.pooled.settings]
        return [log / math.log(self.margin) for log in logs if math.isfinite(log)]

    @property
    def named(self) -> str:
        """The figure as tables name it."""
        return {"val_metric": "final metric", "val_loss": "last validation loss"}.get(
            self.figure, self.figure.replace("_", " ")
        )

    @property
    def verdict(self) -> Verdict:
        """Whether the frameworks are equivalent, differ, both (of a small difference), or neither is shown."""
        within = self.pooled.within is not None and self.pooled.within.shown
        differ = self.pooled.mean.leaves_out(self.pooled.null)
        if within:
            return Verdict.SMALL if differ else Verdict.EQUIVALENT
        return Verdict.DIFFER if differ else Verdict.INCONCLUSIVE


@dataclass(frozen=True)
class Across(Finding):
    """A line a study and figure, and what each study asked."""

    question: ClassVar[str] = "across"

    lines: Sequence[StudyDifference]
    asked: Sequence[FrameworkComparison]

    @property
    def untested(self) -> list[tuple[str, str, float]]:
        """Study, figure and margin of what was stated and cannot be tested."""
        return [(study(asked), figure, asked.margins[figure]) for asked in self.asked for figure in asked.untested]

    @property
    def tested(self) -> list[StudyDifference]:
        """The lines that were held to a margin."""
        return [line for line in self.lines if line.pooled.within is not None]

    @property
    def held(self) -> int:
        """How many of the margins hold."""
        return sum(line.verdict in (Verdict.EQUIVALENT, Verdict.SMALL) for line in self.lines)

    @property
    def late(self) -> int:
        """Of how many margins it is not on record that they came before the first run."""
        return sum(not line.stated_first for line in self.tested)

    @property
    def drawn(self) -> bool:
        return any(line.margin is not None for line in self.lines)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Settings of all studies as they stand in CSV."""
        return [
            {
                "study": line.study,
                "figure": line.named,
                "settings": len(line.pooled.settings),
                "seeds": line.pooled.seeds,
            }
            | finite(bounds("difference", line.pooled.mean))
            | {"margin": line.margin, "equivalence_p": line.pooled.within.p if line.pooled.within else None}
            | self.unlearned.column(line.unlearned.runs if line.unlearned.of else None)
            | {"settings_left_out": line.pooled.left_out, "settings_apart": line.pooled.apart, "verdict": line.verdict}
            for line in self.lines
        ]


def findings(studies: Sequence[Sequence[Run]]) -> list[Across]:
    """Find it where two studies or more have both frameworks, with three seeds in common."""
    asked = [one for runs in studies for one in frameworks.findings(runs)]
    lines = list(_lines(asked))
    if len({line.study for line in lines}) < 2:
        return []
    return [Across((), lines, asked, unlearned=unlearned(run for one in asked for run in one.runs))]


def study(asked: FrameworkComparison) -> str:
    """Return a study's name, with what tells its jobs apart."""
    return ", ".join((asked.runs[0].experiment, *asked.names))


def _lines(asked_of: Sequence[FrameworkComparison]) -> Iterator[StudyDifference]:
    """Yield a line for each figure that a study stated a margin for, and for its metric whatever it stated."""
    for asked in asked_of:
        for one in asked.pooled:
            if one.figure in asked.margins or one.figure == "val_metric":
                margin = asked.margins.get(one.figure)
                step = asked.step(one.figure)
                yield StudyDifference(
                    study(asked), asked.frameworks, one.figure, one, margin, asked.stated_first, step, asked.unlearned
                )
