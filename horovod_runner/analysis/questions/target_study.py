"""The curves of one job and target as flat rows: what each batch took, and what each curve's law comes to."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from horovod_runner.analysis.load.arms import arm as arm_of
from horovod_runner.analysis.load.groups import bounds
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions.trials import Arm
from horovod_runner.statistics.batch_limits import quotient, widened
from horovod_runner.statistics.interval import Interval, ratio, times
from horovod_runner.statistics.throughput import over_runs

Speeds = Mapping[tuple[str, int], Interval]
_OF_TIMES = ("workload", "width", "classifier", "precision", "threads", "data.image_size", "data.channels")


@dataclass(frozen=True)
class Study:
    """The curves of one job, target and other settings, and images a second of all workers where they were measured."""

    target: float
    metric: str
    arms: tuple[Arm, ...]
    speeds: Speeds

    @property
    def seeds(self) -> list[int]:
        """The different numbers of seeds of the arms."""
        return sorted({len(arm.trials.seeds) for arm in self.arms})

    @property
    def tried(self) -> list[int]:
        """The different numbers of rates that were tried at a batch."""
        return sorted({len(rates) for arm in self.arms for rates in arm.trials.rates})

    @property
    def coarse(self) -> list[int]:
        """The batches at which validations are far apart for the steps to target, each once."""
        return list(dict.fromkeys(batch for arm in self.arms for batch in arm.coarse))


def speeds(runs: Sequence[Run], like: Run) -> Speeds:
    """Return images a second of all workers by framework and batch, of timed runs of the same model on the same images.

    Virtual workers are computed one after another, and what they take says nothing of the workers that they stand for:
    such runs are left out. Where a batch was timed with several numbers of workers, the largest counts.
    """
    timed: dict[tuple[str, int], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        result, real = run.result, run.config.virtual_workers == 1
        if result.images_per_second is None or not run.completed or not real or _model(run) != _model(like):
            continue
        if arm_of(run) in ("training", "alone"):
            timed[result.framework, result.global_batch][result.workers].append(result.images_per_second.mean)
    return {place: over_runs(by_workers[max(by_workers)]) for place, by_workers in timed.items()}


def _model(run: Run) -> list[Any]:
    """Return what the time of an image depends on beside framework, batch and workers."""
    return [run.settings[key] for key in _OF_TIMES]


def batch_rows(study: Study) -> list[dict[str, Any]]:
    """Return a flat row a framework, optimizer and batch: the best rate, its steps, and times if there are any."""
    return [_batch_row(study, arm, place) for arm in study.arms for place in range(len(arm.trials.batches))]


def _batch_row(study: Study, arm: Arm, place: int) -> dict[str, Any]:
    batch, steps = arm.trials.batches[place], arm.limits.interval(place)
    reached = math.isfinite(steps.mean)
    row = {
        "framework": arm.framework,
        "optimizer": arm.name,
        "global_batch": batch,
        "best_rate": arm.rate(place),
        "rates": len(arm.trials.rates[place]),
        "at_edge": arm.edge(place),
        "budget_steps": arm.budgets[place],
        "validated_every": arm.resolution[place] or None,
        **finite(bounds("steps_to_target", steps if reached else None)),
        "reached": arm.limits.reached(place),
        "seeds": len(arm.trials.seeds),
        "regime": arm.limits.regime(place),
    }
    if not study.speeds:
        return row
    speed = study.speeds.get((arm.framework, batch))
    taken = ratio(times(steps, batch), speed) if speed and reached else None
    return row | bounds("images_per_second", speed) | finite(bounds("seconds_to_target", taken))


def finite(row: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return the row without infinite bounds, which JSON does not have."""
    return {key: value if value is not None and math.isfinite(value) else None for key, value in row.items()}


def speed_rows(study: Study) -> list[dict[str, Any]]:
    return [
        {"framework": framework, "global_batch": batch, **finite(bounds("images_per_second", speed))}
        for (framework, batch), speed in sorted(study.speeds.items())
        if any(framework == arm.framework and batch in arm.trials.batches for arm in study.arms)
    ]


def fit_rows(study: Study) -> list[dict[str, Any]]:
    """Return a flat row a framework and optimizer: S_min, B_crit, the end of perfect scaling, the most useful batch."""
    return [_fit_row(arm) for arm in study.arms]


def _fit_row(arm: Arm) -> dict[str, Any]:
    made, batches = arm.limits, arm.trials.batches
    rms = float(made.fit.rms)
    return {
        "framework": arm.framework,
        "optimizer": arm.name,
        "batches": len(batches),
        "seeds": len(arm.trials.seeds),
        **finite(bounds("s_min", s_min(arm))),
        **finite(bounds("b_crit", b_crit(arm))),
        "rms_log": None if math.isnan(rms) else rms,
        "perfect_scaling_to": None if made.perfect is None else batches[made.perfect],
        "maximum_useful_batch": None if made.plateau is None else batches[made.plateau],
    }


def s_min(arm: Arm) -> Interval:
    """Return the fitted S_min with its 95 % interval over seeds."""
    return widened(float(arm.limits.fit.s_min), arm.limits.drawn_fit.s_min, len(arm.trials.seeds))


def b_crit(arm: Arm) -> Interval:
    """Return the fitted B_crit with its 95 % interval over seeds; infinite where the batches hold no bend."""
    return widened(float(arm.limits.fit.b_crit), arm.limits.drawn_fit.b_crit, len(arm.trials.seeds))


def b_crit_ratio(one: Arm, other: Arm) -> Interval:
    """Return one arm's B_crit over another's, with a 95 % interval over the seeds that both share, which pair them."""
    mine, theirs = one.limits, other.limits
    value = float(quotient(mine.fit.b_crit, theirs.fit.b_crit))
    return _paired(one, other, value, quotient(mine.drawn_fit.b_crit, theirs.drawn_fit.b_crit))


def steps_ratio(one: Arm, other: Arm) -> Interval:
    """Return one arm's steps to target over another's, the geometric mean over their common batches; paired by seed."""
    common = [batch for batch in one.trials.batches if batch in other.trials.batches]
    places = [[arm.trials.batches.index(batch) for batch in common] for arm in (one, other)]
    whole = quotient(one.limits.steps[places[0]], other.limits.steps[places[1]])
    drawn = quotient(one.limits.drawn[:, places[0]], other.limits.drawn[:, places[1]])
    told = np.isfinite(whole) & (whole > 0)
    if not told.any():
        return Interval(math.nan, None, None)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(drawn[:, told]).mean(axis=1)
    return _paired(one, other, float(np.exp(np.log(whole[told]).mean())), np.exp(logs))


def _paired(one: Arm, other: Arm, value: float, drawn: Any) -> Interval:
    """Return an interval from resamples that drew the same seeds in both arms: none where their seeds differ."""
    if one.trials.seeds != other.trials.seeds or not math.isfinite(value):
        return Interval(value, None, None)
    return widened(value, drawn, len(one.trials.seeds))
