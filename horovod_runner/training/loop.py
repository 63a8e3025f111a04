"""The one training loop; it has never heard of a framework.

A step waits for its batch, trains, and is timed; what comes between steps (validation, records, saved states) is a
pause and counts in no step. All workers take the same decisions at the same steps, from numbers that all of them share.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from benchmarks.data.batch import Batch
from benchmarks.data.pipeline import batch_fingerprint
from horovod_runner.frameworks.base import Backend
from horovod_runner.training.plan import Plan
from horovod_runner.training.recorder import Recorder, WorkerStep
from horovod_runner.training.timing import StepTimer
from horovod_runner.training.validation import Validation


class TrainData(Protocol):
    """This worker's part of every global batch."""

    @property
    def first_row(self) -> int:
        """Where this worker's part begins in a global batch."""
        ...

    def iterate(self, start_step: int, stop_step: int) -> Iterator[Batch]:
        """Yield the batches of these steps, counted from 0."""
        ...


class Pauses(Protocol):
    """What is done between steps, by all workers together."""

    def settle(self) -> None:
        """Come to rest after the first step, which traces and allocates."""
        ...

    def validate(self, step: int) -> Validation:
        """Validate the model as it stands after this step, counted from 0."""
        ...

    def keep(self, step: int, validation: Validation) -> None:
        """Keep which examples the run's last validation, after this step, got right."""
        ...

    def save(self, step: int) -> None:
        """Save the state after so many steps."""
        ...


def train(backend: Backend, plan: Plan, data: TrainData, recorder: Recorder, pauses: Pauses, timer: StepTimer) -> None:
    """Train from the plan's first step to its last, or to the validation that ends the run.

    All workers are given the same validation figures, and so end at the same step; Diverged is raised by all alike.
    """
    batches = data.iterate(plan.first_step, plan.total_steps)
    for step in plan.steps:
        learning_rate = plan.schedule(step)

        # The step: its batch is waited for; forward, backward, reduction and update are done on the device.
        timer.start()
        batch = next(batches)
        timer.data_ready()
        loss = backend.step(batch, learning_rate)
        backend.synchronize()
        times = timer.stop()

        # What this worker saw of it.
        seen = WorkerStep(
            step=step + 1,
            epoch=plan.epoch(step) + 1,
            learning_rate=learning_rate,
            loss=loss,
            times=times,
            ready_seconds=timer.since_start(backend.ready_at()),
            fingerprint=batch_fingerprint(batch, data.first_row) if plan.fingerprint_batches else 0,
            squared_norms=backend.squared_norms(),
        )
        recorder.add(seen)

        # The pause: a validation may end the run, records go to rank 0's disk, and so does the state.
        ends = False
        if step == plan.first_step:
            pauses.settle()
        if plan.validates(step):
            validation = pauses.validate(step)
            recorder.validated(validation)
            ends = plan.reached(validation.metric)
            if ends or plan.last(step):
                pauses.keep(step, validation)
        if plan.flushes(step):
            recorder.flush()
        if plan.saves(step, ends):
            pauses.save(step + 1)
        if ends:
            break
