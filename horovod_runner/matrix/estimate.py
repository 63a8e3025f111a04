"""How long a run will take, judged by runs like it that were done: never by a formula about machines.

A run takes what its steps take (the median of the like runs' median steps, times its steps) and what is not steps:
starting, validating, saving (the median of what those took beyond their steps). The second is taken as it was,
whatever the length, so a long run judged by short ones is judged without most of its validation. A run that ends at its
target is taken to need all its steps: that is the most it can take.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from horovod_runner.config.schema import RunConfig
from horovod_runner.matrix.sharing import shares
from horovod_runner.results.record import RunResult

_RATES = {"learning_rate", "momentum", "beta1", "beta2", "epsilon", "weight_decay", "trust_coefficient"}
_NO_COST: dict[str, Any] = {
    "experiment": True,
    "epochs": True,
    "steps": True,
    "global_batch": True,
    "scaling": True,
    "schedule": True,
    "loss": True,
    "checkpoint": True,
    "seed": True,
    "repeat": True,
    "discard_steps": True,
    "record_every": True,
    "validate_every": True,
    "validate_steps": True,
    "target": True,
    "optimizer": _RATES,
}
"""Settings that a step's time hardly depends on."""


@dataclass(frozen=True)
class Finished:
    """A run that was done: `seconds` from its launch to its end, as far as they are known."""

    config: RunConfig
    result: RunResult
    seconds: float

    @property
    def telling(self) -> bool:
        """Whether it went all the way, and its steps' seconds are known."""
        return self.result.status == "completed" and self.step_seconds > 0

    @property
    def stopped(self) -> bool:
        """Whether it ended at its target, which may be amid an epoch."""
        return self.config.target.stop and self.result.steps_to_target is not None

    @property
    def step_seconds(self) -> float:
        """Seconds of a step: of runs that shared the machine, whose steps are not timed, all there were; 0: unknown."""
        if self.result.at_once > 1 and self.result.steps:
            return self.seconds / self.result.steps
        return self.result.step_seconds.median if self.result.step_seconds else 0.0

    @property
    def other_seconds(self) -> float:
        """Seconds that were not steps."""
        return max(0.0, self.seconds - self.result.steps * self.step_seconds)


class Experience:
    """What runs that were done tell about others, of which so many are to be done at once."""

    def __init__(self, finished: Sequence[Finished], at_once: int = 1) -> None:
        """Sort the runs by what a step's time depends on, leaving out those that shared the machine otherwise."""
        self._at_once = at_once
        telling = [run for run in finished if run.telling and run.result.at_once == self._beside(run.config)]
        self._jobs = {_job(run.config) for run in telling}
        self._same = _told(telling, _all_costs)
        self._similar = _told(telling, _costs_but_batch)

    def _beside(self, config: RunConfig) -> int:
        return self._at_once if shares(config, self._at_once) else 1

    def matrix_seconds_of(self, config: RunConfig) -> float | None:
        """Return what a run adds to the time of its matrix: its seconds, or its part of those it shares with others."""
        seconds = self.seconds_of(config)
        return None if seconds is None else seconds / self._beside(config)

    def seconds_of(self, config: RunConfig) -> float | None:
        """Return the seconds of a run from its launch to its end; None if nothing like it was done.

        Like it are runs of the same job, framework, workers and settings; failing those, runs with other local batches,
        whose steps are scaled by the images in them.
        """
        if _job(config) not in self._jobs:
            return None
        told = self._same.get(_all_costs(config)) or self._similar.get(_costs_but_batch(config))
        if told is None:
            return None
        steps = planned_steps(config) or told.steps(config)
        if steps is None:
            return None
        return told.other_seconds + steps * told.image_seconds * (config.local_batch or 1)


@dataclass(frozen=True)
class _Told:
    """What runs that are alike tell together: medians. `examples` is None where they did not count by epochs."""

    image_seconds: float  # of a step, for each image of a worker
    other_seconds: float
    examples: float | None

    def steps(self, config: RunConfig) -> int | None:
        """Return the steps of a run on a folder of so many examples, by whole epochs."""
        if self.examples is None or config.epochs is None:
            return None
        return config.epochs * int(self.examples // (config.global_batch or 1))


def seconds_of(config: RunConfig, finished: Sequence[Finished]) -> float | None:
    """Return the seconds of one run by those that were done; see Experience.seconds_of, which is faster for many."""
    return Experience(finished).seconds_of(config)


def planned_steps(config: RunConfig) -> int | None:
    """Return how many steps a run has; None where only the user's folder knows."""
    if config.steps is not None:
        return config.steps
    if config.examples is None:
        return None
    return (config.epochs or 0) * (config.examples // (config.global_batch or 1))


def _told(runs: Sequence[Finished], key: Callable[[RunConfig], str]) -> dict[str, _Told]:
    groups: dict[str, list[Finished]] = {}
    for run in runs:
        groups.setdefault(key(run.config), []).append(run)
    return {name: _summary(group) for name, group in groups.items()}


def _summary(runs: Sequence[Finished]) -> _Told:
    examples = [
        r.result.steps * r.result.global_batch / r.result.epochs
        for r in runs
        if r.config.epochs and r.result.epochs and not r.stopped
    ]
    return _Told(
        image_seconds=statistics.median(run.step_seconds / (run.config.local_batch or 1) for run in runs),
        other_seconds=statistics.median(run.other_seconds for run in runs),
        examples=statistics.median(examples) if examples else None,
    )


def _job(config: RunConfig) -> tuple[str, str, int]:
    return config.workload, config.framework, config.workers


def _all_costs(config: RunConfig) -> str:
    return json.dumps(config.model_dump(mode="json", exclude=_NO_COST), sort_keys=True)


def _costs_but_batch(config: RunConfig) -> str:
    return json.dumps(config.model_dump(mode="json", exclude={**_NO_COST, "local_batch": True}), sort_keys=True)
