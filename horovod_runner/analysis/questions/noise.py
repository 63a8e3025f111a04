"""How large is the gradient noise scale, and does it grow while a model is trained?

Runs with `noise_scale` answer, an arm for each framework, batch, and whatever else they vary. Seeds are the samples of
every interval. A run that diverged leaves no noise scale to average, and is counted.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from horovod_runner.analysis.load.groups import bounds
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions import Finding, by_job
from horovod_runner.statistics import noise_scale
from horovod_runner.statistics.interval import Interval
from horovod_runner.statistics.noise_scale import Estimates

WINDOWS = 10
THIRD = 3
OWN = ("framework", "global_batch", "seed", "repeat", "experiment", "noise_scale")


@dataclass(frozen=True)
class Measured:
    """A completed run's estimates at each recorded step, and where in training it stands, in steps and epochs."""

    steps: np.ndarray
    epochs: np.ndarray
    estimates: Estimates

    def windows(self) -> list[np.ndarray]:
        """Return the indices of consecutive stretches of training, about equally long."""
        return np.array_split(np.arange(len(self.epochs)), min(WINDOWS, len(self.epochs)))

    def ratio(self, chosen: Any = slice(None)) -> float | None:
        """Return B_simple over some of the steps."""
        return noise_scale.simple(self.estimates.traces[chosen], self.estimates.squares[chosen])

    @property
    def growth(self) -> float | None:
        """B_simple of the last third of training over that of the first; None where one of them is not positive."""
        thirds = np.array_split(np.arange(len(self.epochs)), THIRD)
        first, last = (self.ratio(third) if len(third) else None for third in (thirds[0], thirds[-1]))
        return last / first if first is not None and last is not None and min(first, last) > 0 else None


@dataclass(frozen=True)
class Arm:
    """Runs that are equal but for their seed; `settings` are what else the study varies."""

    framework: str
    shard_batch: int
    global_batch: int
    settings: Mapping[str, Any]
    runs: Sequence[Measured]
    diverged: int

    @property
    def simple(self) -> Interval | None:
        """B_simple over whole runs: the ratio of averages over seeds."""
        if not self.runs:
            return None
        means = [(run.estimates.traces.mean(), run.estimates.squares.mean()) for run in self.runs]
        return noise_scale.over_samples(*zip(*means, strict=True))

    @property
    def growths(self) -> list[float]:
        """The factors of growth of the runs that have one."""
        return [growth for run in self.runs if (growth := run.growth) is not None]

    @property
    def growth(self) -> Interval | None:
        """By what factor it grows; None where no run has one."""
        return noise_scale.factor(self.growths)

    @property
    def row(self) -> dict[str, Any]:
        """The arm as a row of a table."""
        row: dict[str, Any] = {"framework": self.framework, "global_batch": self.global_batch}
        row |= {"shard_batch": self.shard_batch, **self.settings, "seeds": len(self.runs), "diverged": self.diverged}
        row |= bounds("simple", self.simple) | bounds("growth", self.growth)
        for name in ("traces", "squares") if self.runs else ():
            row[f"mean_{name}"] = float(np.mean([getattr(run.estimates, name).mean() for run in self.runs]))
        return row


@dataclass(frozen=True)
class Noise(Finding):
    """The arms of one job that measured the noise scale."""

    question: ClassVar[str] = "noise"

    arms: Sequence[Arm]

    @property
    def drawn(self) -> bool:
        return any(arm.runs for arm in self.arms)

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [arm.row for arm in self.arms]


def findings(runs: Sequence[Run]) -> list[Noise]:
    """Find it for each job of which runs measured the noise scale."""
    asked = [run for run in runs if run.config.noise_scale]
    return [Noise(names, arms) for names, members in by_job(asked) if (arms := _arms(members))]


def _arms(members: Sequence[Run]) -> list[Arm]:
    """Return the arms of one job's runs, by framework and batch."""
    varied, estimated = _varied(members), measured([run for run in members if run.completed])

    def key(run: Run) -> tuple[Any, ...]:
        own = run.result.framework, run.result.global_batch
        return *own, run.config.noise_scale, *(str(run.row.get(name)) for name in varied)

    arms = []
    for _, group in itertools.groupby(sorted(members, key=key), key=key):
        equal = list(group)
        found = [estimated[run.result.run_id] for run in equal if run.result.run_id in estimated]
        of = next((run.result.gradient_noise for run in equal if run.result.gradient_noise), None)
        if of is not None:
            settings = {name: equal[0].row.get(name) for name in varied}
            diverged = sum(not run.completed for run in equal)
            arms.append(Arm(equal[0].result.framework, of.shard_batch, of.global_batch, settings, found, diverged))
    return arms


def _varied(members: Sequence[Run]) -> list[str]:
    """Return the settings in which runs of the same framework and batch differ, but for their seeds."""
    seen: dict[tuple[str, int, str], set[str]] = {}
    for run in members:
        for name, value in run.settings.items():
            if name not in OWN:
                place = (run.result.framework, run.result.global_batch, name)
                seen.setdefault(place, set()).add(str(value))
    return sorted({name for (_, _, name), values in seen.items() if len(values) > 1})


def measured(runs: Sequence[Run]) -> dict[str, Measured]:
    """Return runs' estimates from their recorded steps, by run id; a run without any is not there."""
    from horovod_runner.analysis.load.tables import step_table

    fields = ["step", "shard_squared_norm", "mean_squared_norm"]
    told = {run.result.run_id: run for run in runs if run.result.gradient_noise is not None}
    steps = step_table(list(told.values()), fields).dropna(subset=fields) if told else None
    rows = {} if steps is None else dict(iter(steps.groupby("run_id")))
    return {
        name: _estimated(told[name], *(table[field].to_numpy(float) for field in fields))
        for name, table in rows.items()
    }


def _estimated(run: Run, steps: np.ndarray, shards: np.ndarray, means: np.ndarray) -> Measured:
    of = run.result.gradient_noise
    assert of is not None
    epochs = steps * run.result.epochs / run.result.steps
    return Measured(steps, epochs, noise_scale.estimates(shards, means, of.shard_batch, of.global_batch))


def curve(runs: Sequence[Measured]) -> tuple[list[float], list[float | None], list[tuple[float, float] | None]]:
    """Return epochs, ratios of averages over runs, and the least and largest run's, of each stretch of training."""
    fewest = min(len(run.windows()) for run in runs)
    x, y, bands = [], [], []
    for number in range(fewest):
        parts = [run.windows()[number] for run in runs]
        sums = [
            np.mean([getattr(run.estimates, name)[part].mean() for run, part in zip(runs, parts, strict=True)])
            for name in ("traces", "squares")
        ]
        each = [one for run, part in zip(runs, parts, strict=True) if (one := run.ratio(part)) is not None]
        x.append(float(np.mean([run.epochs[part].mean() for run, part in zip(runs, parts, strict=True)])))
        y.append(noise_scale.simple([sums[0]], [sums[1]]))
        bands.append((min(each), max(each)) if len(each) == len(runs) else None)
    return x, y, bands
