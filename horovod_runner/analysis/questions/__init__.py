"""What a study asks of its runs: one module a question, each answered wherever runs vary what it is about.

A question's module has `findings(runs)` for the runs of one experiment (those `OVER_STUDIES` take the runs of several),
and returns none where they do not vary its subject. Findings are numbers: estimates with their intervals, the samples
behind them, and verdicts that are one of an enumeration. Their words are in `report/templates/questions`, one template
a question; what is drawn of them is in `plots`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from horovod_runner.analysis.load.learning import Unlearned
from horovod_runner.analysis.load.runs import Run

QUESTIONS: tuple[str, ...] = (
    "warmup",
    "minimum_sufficient",
    "rules",
    "targets",
    "noise",
    "converges",
    "ablation",
    "axes",
    "frameworks",
    "prediction",
)
"""The questions' modules in this package, in the order in which a report answers them."""

OVER_STUDIES: tuple[str, ...] = ("across", "critical")
"""Those that take the runs of several experiments, `findings(studies)`."""

BOTH = "both"
"""In place of a framework's name: what is found of all of them together."""


@dataclass(frozen=True)
class Finding:
    """What an experiment's runs say to one question, in numbers.

    `question` names its template and, with `names`, its files: `figures/<name>.svg` and `.png`, `tables/<name>.csv`.
    `names` tell it from the experiment's other findings: job, machine, settings. None where it is the only one.
    `unlearned` are those of its runs that have not learned, where its verdicts rest on what runs end with.
    """

    question: ClassVar[str]

    names: tuple[str, ...]
    unlearned: Unlearned = field(default_factory=Unlearned, kw_only=True)

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """The table, flat, of JSON's values. Of `x`, `x_ci95_low`, `x_ci95_high` readers see `x [low, high]`."""
        return ()

    @property
    def stem(self) -> tuple[str, ...]:
        """The parts of its files' name, which differs from that of every other finding of the experiment."""
        return (self.question, *self.names)

    @property
    def drawn(self) -> bool:
        """Whether there is anything to draw."""
        return True


def labelled(names: Sequence[str], label: Mapping[str, Any]) -> tuple[str, ...]:
    """Return names with the settings that tell runs apart beside them."""
    return (*names, *(f"{key} {value}" for key, value in label.items()))


def short_settings(chosen: Mapping[str, Any]) -> str:
    """Return settings by the ends of their names, as figures and tables have room for."""
    named = (f"{key.rsplit('.', 1)[-1].replace('_', ' ')} {_plain(value)}" for key, value in chosen.items())
    return ", ".join(part.removeprefix("arm ").replace("global batch", "batch") for part in named)


def _plain(value: Any) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


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
        yield tuple(name for name, varies in zip(place, several, strict=True) if varies), members
