"""How many steps to a target does a batch take, and from where on does more batch not help?

After Shallue et al. 2019 (arXiv:1811.03600): at every batch the learning rate is tuned for itself, with the same trials
and seeds, and the best rate's steps stand for the batch. Against the batch they fall like 1/B (perfect scaling), then
more slowly (diminishing returns), then not at all (maximal data parallelism), which S(B) = S_min (1 + B_crit / B)
describes (McCandlish et al. 2018, arXiv:1812.06162). `batch_limits` has the definitions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, ClassVar

from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions import Finding, by_job
from horovod_runner.analysis.questions.target_study import (
    Study,
    b_crit,
    b_crit_ratio,
    batch_rows,
    fit_rows,
    s_min,
    speeds,
    steps_ratio,
)
from horovod_runner.analysis.questions.trials import Arm, arms, studies
from horovod_runner.statistics.interval import Interval


@dataclass(frozen=True)
class Fastest:
    """The batch of an arm's least time to target, of how many timed, and those that are indistinguishable from it."""

    arm: Arm
    seconds: Interval
    batch: int
    timed: int
    close: Sequence[int]


@dataclass(frozen=True)
class Batches(Finding):
    """What each batch took."""

    question: ClassVar[str] = "targets"

    study: Study

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        return batch_rows(self.study)

    @property
    def timed(self) -> list[dict[str, Any]]:
        """The rows that have a time."""
        return [row for row in self.rows if row.get("seconds_to_target") is not None]

    @property
    def fastest(self) -> Iterator[Fastest]:
        """The least time to target of each arm with two timed batches or more."""
        for arm in self.study.arms:
            own = [row for row in self.timed if (row["framework"], row["optimizer"]) == (arm.framework, arm.name)]
            if len(own) > 1:
                yield _fastest(arm, own)


@dataclass(frozen=True)
class Fits(Finding):
    """What the fitted laws say: each arm's limits, what momentum and the framework change."""

    question: ClassVar[str] = "targets-fit"

    study: Study

    @property
    def stem(self) -> tuple[str, ...]:
        return ("targets", *self.names, "fit")

    @property
    def rows(self) -> list[dict[str, Any]]:
        return fit_rows(self.study)

    @property
    def of_momentum(self) -> Iterator[tuple[Arm, Arm, Interval]]:
        """Each pair of arms that differ in momentum alone, the larger first, and the ratio of their B_crit."""
        for one, other in combinations(self.study.arms, 2):
            alike = (one.framework, one.optimizer) == (other.framework, other.optimizer)
            if alike and _but_momentum(one) == _but_momentum(other) and "momentum" in one.settings:
                low, high = sorted((one, other), key=lambda arm: float(arm.settings["momentum"]))
                yield high, low, b_crit_ratio(high, low)

    @property
    def of_frameworks(self) -> Iterator[tuple[Arm, Arm, Interval, Interval]]:
        """Each pair of arms that differ in the framework alone, and the ratios of their steps and their B_crit."""
        for one, other in combinations(self.study.arms, 2):
            if one.framework != other.framework and one.name == other.name:
                yield one, other, steps_ratio(one, other), b_crit_ratio(one, other)

    def s_min(self, arm: Arm) -> Interval:
        """Return an arm's fitted S_min."""
        return s_min(arm)

    def b_crit(self, arm: Arm) -> Interval:
        """Return an arm's fitted B_crit."""
        return b_crit(arm)


def findings(runs: Sequence[Run]) -> list[Batches | Fits]:
    """Return two findings, the batches and the fits, for every job whose runs have a target and vary the batch."""
    made: list[Batches | Fits] = []
    for names, members in by_job(runs):
        chosen = {key: (together, arms(together)) for key, together in studies(members).items()}
        chosen = {key: (together, curves) for key, (together, curves) in chosen.items() if curves}
        distinct = _distinct(list(chosen))
        for (together, curves), apart in zip(chosen.values(), distinct, strict=True):
            study = _study(together, curves, members)
            made += [Batches((*names, *apart), study), Fits((*names, *apart), study)]
    return made


def _distinct(keys: Sequence[str]) -> list[list[str]]:
    """Return the settings that tell each study from the others, as `key value`."""
    settings = [json.loads(key) for key in keys]
    varying = [name for name in settings[0] if len({json.dumps(one.get(name)) for one in settings}) > 1] if keys else []
    return [[f"{name} {one.get(name)}" for name in varying] for one in settings]


def _study(runs: Sequence[Run], curves: Sequence[Arm], members: Sequence[Run]) -> Study:
    metric = next((run.result.val_metric.name for run in runs if run.result.val_metric), "validation metric")
    return Study(runs[0].result.target or 0.0, metric, tuple(curves), speeds(members, runs[0]))


def _fastest(arm: Arm, rows: Sequence[Mapping[str, Any]]) -> Fastest:
    best = min(rows, key=lambda row: row["seconds_to_target"])
    high = best["seconds_to_target_ci95_high"]
    close = [
        row["global_batch"]
        for row in rows
        if row is not best and (high is None or (row["seconds_to_target_ci95_low"] or 0) <= high)
    ]
    seconds = Interval(*(best[f"seconds_to_target{end}"] for end in ("", "_ci95_low", "_ci95_high")))
    return Fastest(arm, seconds, best["global_batch"], len(rows), close)


def _but_momentum(arm: Arm) -> dict[str, Any]:
    return {key: value for key, value in arm.settings.items() if key != "momentum"}
