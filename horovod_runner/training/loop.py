"""The one training loop; it has never heard of a framework.

A step waits for its batch, trains, and is timed; what comes between steps (validation, records, checkpoints) is a
pause and counts in no step. All workers take the same decisions at the same steps, from numbers that all of them share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from benchmarks.architecture import Architecture
from benchmarks.data.batch import Batch
from benchmarks.data.pipeline import batch_mark
from benchmarks.objectives import reference
from horovod_runner.config.schema import RunConfig
from horovod_runner.frameworks.base import Backend
from horovod_runner.training.recorder import Recorder
from horovod_runner.training.schedule import Schedule
from horovod_runner.training.timing import StepTimer

FLUSH_STEPS = 10


class TrainData(Protocol):
    """This worker's part of every global batch."""

    @property
    def first_row(self) -> int:
        """Where this worker's part begins in a global batch."""
        ...

    def iterate(self, start_step: int, stop_step: int) -> Iterator[Batch]:
        """Yield the batches of these steps, counted from 0."""
        ...


@dataclass(frozen=True)
class Plan:
    """What a run does at which step."""

    schedule: Schedule
    steps_per_epoch: int
    total_steps: int
    first_step: int
    checkpoint_every: int
    validate_every: int
    mark_batches: bool = True
    validate_steps: int | None = None  # steps between validations, in place of epochs
    stop_at: float | None = None  # the validation metric that ends the run

    def epoch(self, step: int) -> int:
        """Return the epoch of a step, both counted from 0."""
        return step // self.steps_per_epoch

    def last(self, step: int) -> bool:
        """Whether this is the last step of the run."""
        return step + 1 == self.total_steps

    def validates(self, step: int) -> bool:
        """Whether the model is validated after this step: when it is due by steps or by epochs, and at the end."""
        if self.validate_steps is not None:
            return self.last(step) or (step + 1) % self.validate_steps == 0
        if self.validate_every == 0:
            return False
        ends_epoch = (step + 1) % self.steps_per_epoch == 0
        return self.last(step) or (ends_epoch and (self.epoch(step) + 1) % self.validate_every == 0)

    def reached(self, metric: float) -> bool:
        """Whether a validation with this metric ends the run."""
        return self.stop_at is not None and metric >= self.stop_at

    def saves(self, step: int, ends: bool = False) -> bool:
        """Whether the state is saved after this step; `ends`: it is the run's last one after all."""
        return self.checkpoint_every > 0 and ((step + 1) % self.checkpoint_every == 0 or ends or self.last(step))

    def flushes(self, step: int) -> bool:
        """Whether workers exchange and write their records after this step."""
        return (step + 1) % FLUSH_STEPS == 0 or self.saves(step) or self.validates(step) or self.last(step)


def train(
    backend: Backend,
    plan: Plan,
    data: TrainData,
    recorder: Recorder,
    validate: Callable[[], tuple[float, float]],
    save: Callable[[int], None],
    timer: StepTimer,
) -> None:
    """Train from the plan's first step to its last, or to the validation that ends the run.

    All workers are given the same validation figures, and so end at the same step; Diverged is raised by all alike.
    """
    batches = data.iterate(plan.first_step, plan.total_steps)
    for step in range(plan.first_step, plan.total_steps):
        learning_rate = plan.schedule(step)
        timer.start()
        batch = next(batches)
        timer.data_ready()
        loss = backend.step(batch, learning_rate)
        backend.synchronize()
        seconds, waited = timer.stop()
        mark = batch_mark(batch, data.first_row) if plan.mark_batches else 0
        ready = backend.ready_at()
        ready_seconds = None if ready is None else timer.since_start(ready)
        recorder.add(
            step + 1,
            plan.epoch(step) + 1,
            learning_rate,
            loss,
            seconds,
            waited,
            mark,
            ready_seconds,
            backend.squared_norms(),
        )
        ends = False
        if plan.validates(step):
            val_loss, val_metric = validate()
            recorder.validated(val_loss, val_metric)
            ends = plan.reached(val_metric)
        if plan.flushes(step):
            recorder.flush()
        if plan.saves(step, ends):
            save(step + 1)
        if ends:
            break


def share_statistics(backend: Backend, architecture: Architecture, workers: int) -> None:
    """Give every worker the mean of all workers' running statistics.

    The update of a running mean is linear, so averaging early or late comes to the same: a run may do so whenever it
    likes.
    """
    names = [array.name for array in architecture.statistics]
    if workers == 1 or not names:
        return
    state = backend.state_of(names)
    mean = backend.mean_over_ranks(np.concatenate([state[name].ravel() for name in names]).astype(np.float64))
    ends = np.cumsum([state[name].size for name in names])[:-1]
    parts = np.split(mean, ends)
    backend.load_state({name: part.reshape(state[name].shape) for name, part in zip(names, parts, strict=True)})


def validation(backend: Backend, batches: Iterator[Batch], config: RunConfig, classes: int) -> tuple[float, str, float]:
    """Return (loss, metric's name, metric) over every validation example of every worker, each counted once."""
    task = config.job.task
    total = reference.empty_sums(task, classes)
    for batch in batches:
        total = total + reference.sums(task, backend.evaluate(batch), batch.targets, batch.weights, config.loss)
    return reference.figures(task, backend.mean_over_ranks(total) * config.workers)
