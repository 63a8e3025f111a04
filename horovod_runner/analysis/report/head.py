"""The head of a study's report: what was asked, the answer in a sentence, the one figure, and how sure that is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from horovod_runner.analysis.load.groups import Group, all_runs
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.report.answers import Answer
from horovod_runner.analysis.report.sentences import phrase
from horovod_runner.config.frameworks import FRAMEWORKS
from horovod_runner.results.store import read_manifest

LEADING = ("warmup-enough", "targets-fit", "targets", "converges", "ablation", "noise", "critical", "frameworks")
"""Questions whose figure leads where a study answers several: the first that is there, or else any."""
MOST_NAMED = 2  # machines, or sets of versions, that a line has room for
VERSIONS = (*(row.package for row in FRAMEWORKS.values()), "horovod")


@dataclass(frozen=True)
class Head:
    """What a reader of a study sees first."""

    experiment: str
    groups: Sequence[Group]
    given: Sequence[Answer]

    @property
    def answers(self) -> list[Answer]:
        """What was asked and answered; what is predicted of workers that nobody measured comes later."""
        return [answer for answer in self.given if answer.finding.question != "prediction"]

    @cached_property
    def runs(self) -> list[Run]:
        """All runs of the study."""
        return all_runs(self.groups)

    @property
    def asked(self) -> str | None:
        """The first sentence of the experiment's description; None where none is on record."""
        description = read_manifest(self.runs[0].folder.parent).get("description") or ""
        first = re.match(r".*?[.?!](?=\s|$)", " ".join(description.split()))
        return first.group() if first else None

    @property
    def leading(self) -> Answer | None:
        """The answer whose figure is the one to look at."""
        drawn = {answer.finding.question: answer for answer in reversed(self.answers) if answer.draw}
        return next((drawn[question] for question in (*LEADING, *drawn) if question in drawn), None)

    @property
    def seeds(self) -> int:
        """How many seeds the runs were made from."""
        return len({run.result.seed for run in self.runs})

    @property
    def repeats(self) -> int:
        """How often each was repeated, at most."""
        return 1 + max(run.result.repeat for run in self.runs)

    @property
    def machines(self) -> list[str]:
        """The machines of the runs, as many as a line has room for."""
        return _few(phrase("provenance", "machine", run.provenance) for run in self.runs)

    @property
    def versions(self) -> list[str]:
        """The versions behind the runs, as many as a line has room for."""
        return _few(_versions(run) for run in self.runs)

    @property
    def dates(self) -> list[str]:
        """The first and the last day on which a run was started."""
        days = sorted({run.started[:10] for run in self.runs if run.started})
        return list(dict.fromkeys((*days[:1], *days[-1:])))


def _versions(run: Run) -> str:
    versions = run.provenance.get("versions") or {}
    return ", ".join(f"{name} {versions[name]}" for name in VERSIONS if versions.get(name))


def _few(texts: Iterable[str]) -> list[str]:
    different = [text for text in dict.fromkeys(texts) if text]
    few = different[:MOST_NAMED]
    return few if len(few) == len(different) else [*few, f"{len(different) - len(few)} more"]
