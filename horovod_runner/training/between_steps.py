"""What a worker does between steps: it validates, saves the state, and writes down what was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from horovod_runner.machine import share
from horovod_runner.results.predictions import write_predictions
from horovod_runner.results.record import StepRecord
from horovod_runner.training.join import Worker, say_nothing
from horovod_runner.training.skipped import Skipped
from horovod_runner.training.validation import Validation, synchronise_state, validate


@dataclass(frozen=True)
class BetweenSteps:
    """The pauses of one worker; all workers come to each of them."""

    worker: Worker
    skipped: Skipped

    def settle(self) -> None:
        """Take an emulated host's share of the cores, and no more, from here on."""
        share.take()

    def validate(self, step: int) -> Validation:
        """Validate the model as it stands after this step, counted from 0."""
        worker, epoch = self.worker, self.worker.prepared.plan.epoch(step)
        return validate(worker.backend, worker.prepared, worker.world, epoch, self.skipped.note)

    def keep(self, step: int, validation: Validation) -> None:
        """Keep which examples the last validation got right, all workers' together, before the state is saved."""
        if validation.predictions is None:
            return
        own = np.concatenate(validation.predictions).astype(np.float64)
        everyone = self.worker.backend.gather_over_ranks(own)
        if self.worker.leads:
            write_predictions(self.worker.folder.predictions_file, step + 1, *np.split(everyone, 2, axis=1))

    def save(self, step: int) -> None:
        """Save the state that all workers share; none goes on before it is on the disk."""
        worker = self.worker
        synchronise_state(worker.backend, worker.prepared.architecture, worker.world)
        state = worker.backend.state()
        if worker.leads:
            worker.checkpoints.save(step, state, worker.config)
        worker.from_rank_0(0.0)

    def write(self, steps: Sequence[StepRecord]) -> None:
        """Write the records of these steps, and tell the user of their validations and of what was left out."""
        self.skipped.tell()
        if not self.worker.leads:
            return
        self.worker.folder.append_steps(steps)
        for step in steps:
            if step.val_loss is not None:
                self.worker.say(
                    f"epoch {step.epoch:3d}  step {step.step:6d}  loss {step.train_loss:8.4f}"
                    f"  validation loss {step.val_loss:8.4f}  {self.worker.prepared.metric} {step.val_metric:.4f}"
                )


def pauses_of(worker: Worker) -> BetweenSteps:
    """Return the pauses of a worker that has left out no file yet."""
    log = worker.folder.log if worker.leads else say_nothing
    return BetweenSteps(worker, Skipped(worker.config.skips, worker.backend.gather_over_ranks, worker.say, log))
