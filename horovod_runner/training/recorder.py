"""Keeps what every worker saw of each step, and lets rank 0 write it down.

Workers buffer their own figures and exchange them every few steps, outside the timed region: recording costs no step
anything, and since all of them see the same figures, all of them notice a diverged loss at the same moment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.data.pipeline import MARKS
from horovod_runner.errors import Diverged
from horovod_runner.results.record import StepRecord

Gather = Callable[[np.ndarray], np.ndarray]
Write = Callable[[Sequence[StepRecord]], None]


@dataclass
class _Step:
    step: int
    epoch: int
    learning_rate: float
    loss: float
    step_seconds: float
    data_seconds: float
    mark: int
    ready_seconds: float
    squared_norms: tuple[float, float]
    validation: tuple[float, float] | None = None


class Recorder:
    """One worker's records.

    `steps` grows on every worker alike, by what is also written: a summary made from it is the same whether the run was
    resumed or not. `kept` are the records of before a resumption.
    """

    def __init__(self, gather: Gather, write: Write, kept: Sequence[StepRecord], record_every: int) -> None:
        self.steps: list[StepRecord] = list(kept)
        self._gather, self._write, self._every = gather, write, record_every
        self._buffer: list[_Step] = []

    def add(
        self,
        step: int,
        epoch: int,
        learning_rate: float,
        loss: float,
        step_seconds: float,
        data_seconds: float,
        mark: int = 0,
        ready_seconds: float | None = None,
        squared_norms: tuple[float, float] | None = None,
    ) -> None:
        """Note one step of this worker.

        `mark` is that of its part of the batch (data.pipeline.batch_mark); `ready_seconds` are those until it handed
        its first gradient to the reduction, None where nothing is reduced; `squared_norms` are what
        backend.Backend.squared_norms gives.
        """
        ready = math.nan if ready_seconds is None else ready_seconds
        norms = (math.nan, math.nan) if squared_norms is None else squared_norms
        self._buffer.append(_Step(step, epoch, learning_rate, loss, step_seconds, data_seconds, mark, ready, norms))

    def validated(self, loss: float, metric: float) -> None:
        """Note the validation that followed the last step."""
        self._buffer[-1].validation = (loss, metric)

    def flush(self) -> None:
        """Exchange and write what was noted; Diverged names the first step whose loss is not finite."""
        own = np.array([_figures(step) for step in self._buffer], dtype=np.float64)
        everyone = self._gather(own.ravel()).reshape(-1, *own.shape)
        records = [_merge(step, everyone[:, i]) for i, step in enumerate(self._buffer)]
        self._buffer.clear()
        broken = next((i for i, record in enumerate(records) if not math.isfinite(record.train_loss)), None)
        records = records if broken is None else records[: broken + 1]
        kept = [record for record in records if self._due(record) or record is records[-1]]
        self.steps += kept
        self._write(kept)
        if broken is not None:
            raise Diverged(records[-1].step, records[-1].train_loss)

    def _due(self, record: StepRecord) -> bool:
        return record.step % self._every == 0 or record.val_loss is not None


def _figures(step: _Step) -> list[float]:
    return [step.loss, step.step_seconds, step.data_seconds, step.mark, step.ready_seconds, *step.squared_norms]


def _merge(step: _Step, everyone: np.ndarray) -> StepRecord:
    """Make one record of (workers, 7).

    The mean loss, the slowest worker's seconds, the marks' sum, the ready times, the mean of shards' squared norms and
    the sum of the shares of the average's.
    """
    val_loss, val_metric = step.validation or (None, None)
    ready = everyone[:, 4]
    return StepRecord(
        step=step.step,
        epoch=step.epoch,
        learning_rate=step.learning_rate,
        train_loss=float(everyone[:, 0].mean()),
        step_seconds=float(everyone[:, 1].max()),
        data_seconds=float(everyone[:, 2].max()),
        worker_seconds=tuple(everyone[:, 1].tolist()),
        val_loss=val_loss,
        val_metric=val_metric,
        ready_seconds=tuple(ready.tolist()) if np.isfinite(ready).all() else (),
        shard_squared_norm=_finite(everyone[:, 5].mean()),
        mean_squared_norm=_finite(everyone[:, 6].sum()),
        batch=f"{sum(int(mark) for mark in everyone[:, 3]) % MARKS:012x}",
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
