"""From runs with a target to trials: which runs belong to one curve of steps to target against batch."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions.samples import trained_by
from horovod_runner.statistics.batch_limits import Limits, Trials, limits
from horovod_runner.training.schedule import scaling_factor

# What may differ within one study: what is varied, what divides a batch, and what changes no step's arithmetic.
_VARIED = ("framework", "seed", "repeat", "optimizer.", "global_batch", "local_batch", "workers", "virtual_workers")
_DIVIDED = ("accumulate", "scaling", "threads", "allreduce.", "data.processes", "data.digests")
_WATCHED = ("validate_", "record_every", "discard_steps", "checkpoint.", "target.stop", "noise_scale", "experiment")
_BUDGET = ("steps", "epochs")
FREE = (*_VARIED, *_DIVIDED, *_WATCHED, *_BUDGET)


COARSE = 0.1  # of the steps to target: from there on steps between validations are said to be many


class Edge(StrEnum):
    """Where the best rate lies among those that were tried."""

    INNER = ""
    LOWEST = "lowest"
    HIGHEST = "highest"
    ONLY = "only one tried"


@dataclass(frozen=True)
class Arm:
    """One framework's curve with one optimizer: its trials, what they say, and what was left out to make them equal.

    `budgets` are the steps a trial of each batch might take, as far as trials that missed tell; `resolution` the steps
    between its validations. `left_out` counts rates that lack some seed. `settings`
    are those of the optimizer that tell it from the study's others of its name.
    """

    framework: str
    optimizer: str
    settings: Mapping[str, Any]
    limits: Limits
    budgets: tuple[int | None, ...]
    resolution: tuple[float, ...]
    left_out: int
    lost_seeds: int

    @property
    def trials(self) -> Trials:
        """The trials."""
        return self.limits.trials

    @property
    def name(self) -> str:
        """The optimizer, with those of its settings that vary, such as momentum."""
        return ", ".join([self.optimizer, *(f"{key} {value}" for key, value in self.settings.items())])

    def rate(self, place: int) -> float:
        """Return the best peak rate at a batch."""
        return self.trials.rates[place][self.limits.chosen[place]]

    def edge(self, place: int) -> Edge:
        """Return at which edge of the tried rates the best one lies."""
        chosen, last = self.limits.chosen[place], len(self.trials.rates[place]) - 1
        if last == 0:
            return Edge.ONLY
        return {0: Edge.LOWEST, last: Edge.HIGHEST}.get(chosen, Edge.INNER)

    @property
    def missed(self) -> list[int]:
        """The batches at which no rate took most of the seeds to the target."""
        return [b for b, steps in zip(self.trials.batches, self.limits.steps, strict=True) if not math.isfinite(steps)]

    @property
    def edges(self) -> list[tuple[int, float, Edge]]:
        """Batch, rate and edge wherever the best rate is at one."""
        told = ((batch, self.rate(place), self.edge(place)) for place, batch in enumerate(self.trials.batches))
        return [one for one in told if one[2] is not Edge.INNER and one[0] not in self.missed]

    @property
    def coarse(self) -> list[int]:
        """The batches at which validations are far apart for the steps to target."""
        known = zip(self.trials.batches, self.resolution, self.limits.steps, strict=True)
        return [batch for batch, every, steps in known if math.isfinite(steps) and every > COARSE * steps]


def studies(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Return the runs with a target, by the settings that may not differ within one study."""
    together: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if run.result.target is not None:
            together[json.dumps(fixed(run), sort_keys=True)].append(run)
    return together


def fixed(run: Run) -> dict[str, Any]:
    """Return the settings that may not differ within one study, under flat names."""
    return {key: value for key, value in trained_by(run).items() if not key.startswith(FREE)}


def arms(runs: Sequence[Run]) -> list[Arm]:
    """Return every framework's and optimizer's curve of one study, where there are two batches or more."""
    varying = _varying(runs)
    together: dict[tuple[str, str, str], list[Run]] = defaultdict(list)
    for run in runs:
        own = {key: value for key, value in _settings(run).items() if key in varying[_optimizer(run)]}
        together[run.result.framework, _optimizer(run), json.dumps(own)].append(run)
    made = [_arm(*place, members) for place, members in sorted(together.items())]
    return [arm for arm in made if arm is not None]


def _varying(runs: Sequence[Run]) -> dict[str, set[str]]:
    """Return which settings of each optimizer differ between the runs, its rate aside."""
    values: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for run in runs:
        for key, value in _settings(run).items():
            values[_optimizer(run)][key].add(json.dumps(value))
    return {name: {key for key, seen in keys.items() if len(seen) > 1} for name, keys in values.items()}


def _optimizer(run: Run) -> str:
    return run.config.optimizer.name


def _settings(run: Run) -> dict[str, Any]:
    return run.config.optimizer.model_dump(exclude={"name", "learning_rate"})


def peak_rate(run: Run) -> float:
    """Return the highest learning rate of a run's schedule, to twelve digits: equal rates are equal numbers."""
    config = run.config
    factor = scaling_factor(config.schedule, workers=config.all_workers, global_batch=run.result.global_batch)
    return float(f"{(config.optimizer.learning_rate or 0) * factor:.12g}")


def steps_to_target(run: Run) -> float:
    """Return a run's steps to target, infinite where it missed.

    A run that diverged after it had reached the target has reached it: with a stop, it would have ended there.
    """
    steps = run.result.steps_to_target
    return math.inf if steps is None else float(steps)


def _arm(framework: str, optimizer: str, settings: str, runs: Sequence[Run]) -> Arm | None:
    """Return a curve from runs; of several repeats of a trial the first counts, since they differ in nothing.

    A compute-only run that was done to be timed is such a repeat.
    """
    trials: dict[int, dict[float, dict[int, Run]]] = defaultdict(lambda: defaultdict(dict))
    for run in sorted(runs, key=lambda run: (run.result.repeat, not run.config.reduction.reduces)):
        trials[run.result.global_batch][peak_rate(run)].setdefault(run.result.seed, run)
    batches = sorted(trials)
    by_batch = [{seed for members in trials[batch].values() for seed in members} for batch in batches]
    # A batch whose runs are not all there yet shall not take seeds from the others: only seeds of every batch count.
    seeds = sorted(set.intersection(*by_batch))
    rates = {
        batch: [rate for rate in sorted(trials[batch]) if trials[batch][rate].keys() >= set(seeds)] for batch in batches
    }
    batches = [batch for batch in batches if rates[batch]]
    if len(batches) < 2 or not seeds:
        return None
    steps = [_table([trials[b][rate] for rate in rates[b]], seeds) for b in batches]
    members = [[run for rate in rates[b] for run in trials[b][rate].values()] for b in batches]
    whole = Trials(tuple(batches), tuple(tuple(rates[b]) for b in batches), tuple(seeds), tuple(steps))
    resolution = tuple(_resolution(runs) for runs in members)
    return Arm(
        framework=framework,
        optimizer=optimizer,
        settings=json.loads(settings),
        limits=limits(whole, resolution),
        budgets=tuple(_budget(runs) for runs in members),
        resolution=resolution,
        left_out=sum(len(trials[batch]) for batch in trials) - sum(len(kept) for kept in rates.values()),
        lost_seeds=len(set.union(*by_batch)) - len(seeds),
    )


def _table(rates: Sequence[Mapping[int, Run]], seeds: Sequence[int]) -> Any:
    return np.array([[steps_to_target(members[seed]) for seed in seeds] for members in rates])


def _budget(runs: Sequence[Run]) -> int | None:
    """Return the most steps that a trial without the target took: None where all reached it, or one diverged."""
    missed = [run.result.steps for run in runs if run.completed and run.result.steps_to_target is None]
    return max(missed, default=None)


def _resolution(runs: Sequence[Run]) -> float:
    """Return the steps before the first validation, which are those between two; 0 where it is not known."""
    firsts = [run.result.validated_steps[0] for run in runs if run.result.validated_steps]
    return float(np.median(firsts)) if firsts else 0.0
