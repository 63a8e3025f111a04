"""Keeps what every worker saw of each step, and lets rank 0 write it down.

Workers buffer their own figures and exchange them every few steps, outside the timed region: recording costs no step
anything, and since all of them see the same figures, all of them notice a diverged loss at the same moment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.data.pipeline import FINGERPRINTS
from horovod_runner.errors import Diverged
from horovod_runner.results.record import StepRecord
from horovod_runner.training.timing import StepTimes
from horovod_runner.training.validation import Validation

Gather = Callable[[np.ndarray], np.ndarray]
Write = Callable[[Sequence[StepRecord]], None]


class WorkerStep(NamedTuple):
    """What one worker saw of a step; steps and epochs count from 1.

    `ready_seconds` are those until it handed its first gradient to the reduction, None where nothing is reduced;
    `fingerprint` is that of its part of the batch (data.pipeline.batch_fingerprint); `squared_norms` are what
    backend.Backend.squared_norms gives.
    """

    step: int
    epoch: int
    learning_rate: float
    loss: float
    times: StepTimes
    ready_seconds: float | None = None
    fingerprint: int = 0
    squared_norms: tuple[float, float] | None = None

    def figures(self) -> list[float]:
        """Return what workers exchange of it; NaN where something is not known."""
        ready = math.nan if self.ready_seconds is None else self.ready_seconds
        return [self.loss, *self.times, self.fingerprint, ready, *(self.squared_norms or (math.nan, math.nan))]


class Recorder:
    """One worker's records.

    `steps` grows on every worker alike, by what is also written: a summary made from it is the same whether the run was
    resumed or not. `kept` are the records of before a resumption.
    """

    def __init__(self, gather: Gather, write: Write, kept: Sequence[StepRecord], record_every: int) -> None:
        self.steps: list[StepRecord] = list(kept)
        self._gather, self._write, self._every = gather, write, record_every
        self._buffer: list[WorkerStep] = []
        self._validations: dict[int, Validation] = {}  # of steps in the buffer

    def add(self, step: WorkerStep) -> None:
        """Note one step of this worker."""
        self._buffer.append(step)

    def validated(self, validation: Validation) -> None:
        """Note the validation that followed the last step."""
        self._validations[self._buffer[-1].step] = validation

    def flush(self) -> None:
        """Exchange and write what was noted; Diverged names the first step whose loss is not finite."""
        own = np.array([step.figures() for step in self._buffer], dtype=np.float64)
        everyone = self._gather(own.ravel()).reshape(-1, *own.shape)
        found = [self._validations.get(step.step) for step in self._buffer]
        records = [_merge(step, everyone[:, i], found[i]) for i, step in enumerate(self._buffer)]
        self._buffer.clear()
        self._validations.clear()
        broken = next((i for i, record in enumerate(records) if not math.isfinite(record.train_loss)), None)
        records = records if broken is None else records[: broken + 1]
        kept = [record for record in records if self._due(record) or record is records[-1]]
        self.steps += kept
        self._write(kept)
        if broken is not None:
            raise Diverged(records[-1].step, records[-1].train_loss)

    def _due(self, record: StepRecord) -> bool:
        return record.step % self._every == 0 or record.val_loss is not None


def _merge(step: WorkerStep, everyone: np.ndarray, validation: Validation | None) -> StepRecord:
    """Make one record of (workers, 7).

    The mean loss, the slowest worker's seconds, the fingerprints' sum, the ready times, the mean of shards' squared
    norms and the sum of the shares of the average's.
    """
    ready, against = everyone[:, 4], validation and validation.trivial
    return StepRecord(
        step=step.step,
        epoch=step.epoch,
        learning_rate=step.learning_rate,
        train_loss=float(everyone[:, 0].mean()),
        step_seconds=float(everyone[:, 1].max()),
        data_seconds=float(everyone[:, 2].max()),
        worker_seconds=tuple(everyone[:, 1].tolist()),
        val_loss=None if validation is None else validation.loss,
        val_metric=None if validation is None else validation.metric,
        trivial_metric=against and against.metric,
        learned_above=against and against.learned_above,
        ready_seconds=tuple(ready.tolist()) if np.isfinite(ready).all() else (),
        shard_squared_norm=_finite(everyone[:, 5].mean()),
        mean_squared_norm=_finite(everyone[:, 6].sum()),
        batch=f"{sum(int(fingerprint) for fingerprint in everyone[:, 3]) % FINGERPRINTS:012x}",
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
