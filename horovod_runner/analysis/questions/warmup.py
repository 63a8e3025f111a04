"""Does the best warmup grow with the batch? (McCord & Dash, SC21 poster.)

Asked of runs with three lengths of warmup or more; batches, learning-rate rules and frameworks are kept apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from horovod_runner.analysis.load.groups import bounds
from horovod_runner.analysis.load.learning import not_learned, unlearned
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions import BOTH, Finding, by_job, labelled
from horovod_runner.analysis.questions import samples as of
from horovod_runner.statistics import seeds
from horovod_runner.statistics.interval import Interval

if TYPE_CHECKING:
    import pandas

FEWEST_WARMUPS = 3
SUBJECT = ("framework", "schedule.warmup_epochs", "schedule.scaling", *of.OF_A_BATCH)


class Place(NamedTuple):
    """Where warmups are compared: one framework, one rule of scaling the learning rate, one batch."""

    framework: str
    rule: str
    batch: int


Samples = dict[Place, dict[float, dict[int, float]]]
"""The final metric by place, epochs of warmup, and seed."""


Choice = Callable[[NDArray[np.float64], Sequence[float]], NDArray[np.float64]]
"""From means, shape (..., warmups), and the warmups to the one that is chosen, shape (...)."""


@dataclass(frozen=True)
class Growth:
    """The warmup that is chosen at each batch, and its slope on the batch: epochs for 1,000 images more."""

    framework: str
    rule: str
    batches: tuple[int, ...]
    warmups: tuple[float, ...]
    chosen: tuple[float, ...]
    per_thousand: Interval
    seeds: int
    spread: tuple[Interval, ...] = ()  # of the chosen one at each batch, over seeds

    @property
    def brackets(self) -> list[tuple[float | None, float]]:
        """Between which of the warmups that were tried the chosen one lies at each batch: above, at most."""
        return [seeds.bracket(chosen, self.warmups) for chosen in self.spread]

    @property
    def slopes(self) -> tuple[float, float]:
        """The least and the largest slope that these brackets allow, in epochs for 1,000 images more."""
        return seeds.slope_between([batch / 1000 for batch in self.batches], self.brackets)


class Verdict(StrEnum):
    """How a length of warmup stands to the best one of its place."""

    BEST = "best"
    WORSE = "worse"
    INDISTINGUISHABLE = "indistinguishable from the best"
    UNPAIRED = "no seed in common with the best"


@dataclass(frozen=True)
class Contest:
    """The lengths of warmup of one place: the best, and what it gains over each other one, paired by seed."""

    place: Place
    finals: Mapping[float, Mapping[int, float]]
    best: float
    gains: Mapping[float, Interval]
    step: float

    def verdict(self, warmup: float) -> Verdict:
        """Say how a length stands to the best; a difference below one validation example's is none."""
        if warmup == self.best:
            return Verdict.BEST
        if warmup not in self.gains:
            return Verdict.UNPAIRED
        return Verdict.WORSE if seeds.apart(self.gains[warmup], self.step) else Verdict.INDISTINGUISHABLE

    @property
    def tied(self) -> list[float]:
        """The lengths that are indistinguishable from the best."""
        return [warmup for warmup in self.gains if self.verdict(warmup) is Verdict.INDISTINGUISHABLE]

    @property
    def at_edge(self) -> bool:
        """Whether the best is the longest one that was tried."""
        return len(self.finals) > 1 and self.best == max(self.finals)


@dataclass(frozen=True)
class Warmup(Finding):
    """How the best warmup goes with the batch, and how surely it is the best at each place."""

    question: ClassVar[str] = "warmup"

    runs: Sequence[Run]
    growths: Sequence[Growth]
    contests: Sequence[Contest]
    members: Mapping[tuple[Place, float], Sequence[Run]]
    final: of.Final
    step: float

    @property
    def diverged(self) -> int:
        """How many runs diverged."""
        return of.diverged(self.runs)

    @property
    def edges(self) -> list[int]:
        """The batches at which, at some place, the best warmup is the longest."""
        return sorted({one.place.batch for one in self.contests if one.at_edge})

    @property
    def open(self) -> int:
        """At how many places the best is indistinguishable from at least one other."""
        return sum(bool(one.tied) for one in self.contests)

    @property
    def all_tied(self) -> int:
        """At how many places it is indistinguishable from all."""
        return sum(len(one.tied) == len(one.gains) for one in self.contests)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Warmups of each batch as they stand in CSV."""
        return [
            {**one.place._asdict(), "warmup_epochs": warmup, "seeds": len(values)}
            | {"diverged": of.diverged(self.members[one.place, warmup])}
            | self.unlearned.column(not_learned(self.members[one.place, warmup]))
            | bounds("final_metric", seeds.over_seeds(values))
            | bounds("best_gains", one.gains.get(warmup))
            | {"verdict": one.verdict(warmup)}
            for one in self.contests
            for warmup, values in sorted(one.finals.items())
        ]


def findings(runs: Sequence[Run]) -> list[Warmup]:
    """Find it for each job whose runs have three lengths of warmup or more; none otherwise."""
    return [_warmups(names, equal) for names, equal in asking(runs)]


def asking(runs: Sequence[Run]) -> Iterator[tuple[tuple[str, ...], list[Run]]]:
    """Yield the runs of each job that have three lengths of warmup or more, with the names to tell them apart by."""
    for names, members in by_job(runs):
        for label, equal in of.split(members, SUBJECT):
            if len({length(run) for run in equal}) >= FEWEST_WARMUPS:
                yield labelled(names, label), equal


def sampled(runs: Sequence[Run], final: of.Final) -> tuple[dict[tuple[Place, float], list[Run]], Samples]:
    """Return the runs of every place and warmup, and of those that have one their final metric by seed."""
    members = of.by_key(runs, lambda run: (place(run), length(run)))
    samples: Samples = {
        where: {warmup: by_seed for (_, warmup), setting in group if (by_seed := of.by_seed(setting, final))}
        for where, group in groupby(members.items(), key=lambda item: item[0][0])
    }
    return members, {where: table for where, table in samples.items() if table}


def growths(samples: Samples, choose: Choice = seeds.best_setting) -> list[Growth]:
    """Return how a choice of warmup goes with the batch, for each framework and rule, and all frameworks together.

    By default it is the best one, which has the largest mean over seeds. It is made anew in every draw of the
    bootstrap. Warmups that not every batch has, and seeds that not every setting has, are left out; so is what has a
    single batch.
    """
    import pandas

    values = {(*where, w, seed): v for where, t in samples.items() for w, by in t.items() for seed, v in by.items()}
    metric = pandas.Series(values).rename_axis([*Place._fields, "warmup", "seed"])
    found = []
    for rule, of_rule in metric.groupby(level="rule"):
        by_framework = of_rule.droplevel("rule").unstack("framework")
        if by_framework.shape[1] > 1:
            by_framework[BOTH] = by_framework.mean(axis=1, skipna=False)
        found += [_growth(name, str(rule), by_framework[name].dropna(), choose) for name in by_framework]
    return [growth for growth in found if growth is not None]


def against_the_best(table: dict[float, dict[int, float]]) -> tuple[float, dict[float, Interval]]:
    """Return the warmup with the largest mean, and what it gains over each other one, paired by seed."""
    means = {warmup: seeds.over_seeds(values).mean for warmup, values in table.items()}
    best = max(means, key=lambda warmup: means[warmup])
    others = {warmup: seeds.paired(table[best], values) for warmup, values in table.items() if warmup != best}
    return best, {warmup: seeds.over_seeds(gains) for warmup, gains in others.items() if len(gains)}


def length(run: Run) -> float:
    """Return a run's epochs of warmup."""
    return run.config.schedule.warmup_epochs


def place(run: Run) -> Place:
    """Return where a run's warmup is compared."""
    return Place(run.result.framework, run.config.schedule.scaling, run.result.global_batch)


def _growth(framework: str, rule: str, metric: pandas.Series[float], choose: Choice) -> Growth | None:
    """Return how the choice goes with the batch, from a metric by batch, warmup and seed."""
    settings = metric.unstack("seed")
    there = settings.notna().any(axis=1).unstack("warmup", fill_value=False)
    batches, warmups = [int(batch) for batch in there.index], [float(w) for w in there.columns[there.all()]]
    shared = settings[settings.index.isin(warmups, level="warmup")].sort_index().dropna(axis=1)
    if len(batches) < 2 or len(warmups) < FEWEST_WARMUPS or shared.shape[1] == 0:
        return None
    values = shared.to_numpy().reshape(len(batches), len(warmups), -1)
    thousands = [batch / 1000 for batch in batches]

    def slope(means: NDArray[np.float64]) -> NDArray[np.float64]:
        # Rounded, so that a slope of nothing is nothing, and not a negative one.
        return seeds.slope(thousands, choose(means, warmups)).round(9) + 0.0

    chosen = tuple(choose(values.mean(axis=-1), warmups).tolist())
    per_thousand = seeds.resampled(values, slope)
    spread = tuple(seeds.resampled(at_batch, lambda means: choose(means, warmups)) for at_batch in values)
    return Growth(framework, rule, tuple(batches), tuple(warmups), chosen, per_thousand, values.shape[-1], spread)


def _warmups(names: tuple[str, ...], runs: Sequence[Run]) -> Warmup:
    final, step = of.Final(runs), of.resolution(runs) or 0.0
    members, samples = sampled(runs, final)
    contests = [Contest(where, table, *against_the_best(table), step) for where, table in samples.items()]
    return Warmup(names, runs, growths(samples), contests, members, final, step, unlearned=unlearned(runs))
