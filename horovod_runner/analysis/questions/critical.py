"""Does the gradient noise scale predict the critical batch? Both, measured apart, beside each other.

McCandlish et al. 2018 (arXiv:1812.06162): B_crit, where steps to a target have fallen to twice their least, is of the
order of B_simple, averaged over the training that leads there. Asked of studies in which some runs have a target at
several batches, and others measured the noise scale with a target, in the same framework with the same optimizer. The
noise is that of the steps up to the one at which the run reached its target: what comes later is no part of that way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from horovod_runner.analysis.load.groups import bounds
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions import Finding, by_job, noise, trials
from horovod_runner.analysis.questions.target_study import b_crit, finite
from horovod_runner.analysis.questions.trials import Arm
from horovod_runner.statistics import noise_scale
from horovod_runner.statistics.interval import Interval, ratio


@dataclass(frozen=True)
class Beside:
    """One curve's B_crit, and B_simple of runs at one batch on their way to the same target."""

    arm: Arm
    global_batch: int
    simple: Interval
    critical: Interval
    seeds: int

    @property
    def ratio(self) -> Interval:
        """B_simple over B_crit, as of independent estimates."""
        return ratio(self.simple, self.critical)

    @property
    def row(self) -> dict[str, Any]:
        """The pair as a row of a table."""
        row: dict[str, Any] = {"framework": self.arm.framework, "optimizer": self.arm.name}
        row |= {"global_batch": self.global_batch, "seeds": self.seeds} | bounds("b_simple", self.simple)
        return row | finite(bounds("b_crit", self.critical)) | bounds("ratio", self.ratio)


@dataclass(frozen=True)
class Critical(Finding):
    """Every curve's B_crit beside the noise of runs like it."""

    question: ClassVar[str] = "critical"

    found: Sequence[Beside]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [one.row for one in self.found]


def findings(studies: Sequence[Sequence[Run]]) -> list[Critical]:
    """Find it for every job that has both, in one study or in several; none where one of the two is missing."""
    jobs = by_job([run for runs in studies for run in runs])
    return [Critical(names, found) for names, members in jobs if (found := list(_found(members)))]


def _found(runs: Sequence[Run]) -> Iterator[Beside]:
    """Yield every curve with a B_crit beside the noise of runs of the same framework, optimizer and target."""
    noisy = [run for run in runs if run.completed and run.config.noise_scale and run.result.steps_to_target]
    asked = [run for run in runs if not run.config.noise_scale]
    for together in trials.studies(asked).values():
        for arm in trials.arms(together):
            critical = b_crit(arm)
            if not 0 < critical.mean < math.inf:
                continue
            alike = [run for run in noisy if _is_of(run, arm) and run.result.target == together[0].result.target]
            for batch in sorted({run.result.global_batch for run in alike}):
                members = [run for run in alike if run.result.global_batch == batch]
                told = _to_target(members)
                if told is not None:
                    yield Beside(arm, batch, told[0], critical, told[1])


def _is_of(run: Run, arm: Arm) -> bool:
    optimizer = run.config.optimizer
    same = (run.result.framework, optimizer.name) == (arm.framework, arm.optimizer)
    return same and all(getattr(optimizer, key) == value for key, value in arm.settings.items())


def _to_target(runs: Sequence[Run]) -> tuple[Interval, int] | None:
    """Return B_simple up to the target, the ratio of averages over seeds, and of how many seeds it is.

    None where the noise hides the gradient, or no step was recorded until then.
    """
    measured, ways = noise.measured(runs), []
    for run in runs:
        if (of := measured.get(run.result.run_id)) is None or run.result.steps_to_target is None:
            continue
        until = of.steps <= run.result.steps_to_target  # not every step need be on record
        if until.any():
            ways.append([part[until].mean() for part in of.estimates])
    simple = noise_scale.over_samples(*zip(*ways, strict=True)) if ways else None
    return None if simple is None else (simple, len(ways))
