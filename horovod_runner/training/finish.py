"""The end of a run: what all workers saw becomes its result, which rank 0 writes last of all."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from horovod_runner.allreduce import timeline
from horovod_runner.errors import Diverged
from horovod_runner.results.record import RunResult, StepBreakdown, StepRecord
from horovod_runner.results.summary import summarise
from horovod_runner.training.join import Worker
from horovod_runner.training.timing import StepTimer


@dataclass(frozen=True)
class Trained:
    """What training left on one worker; `began` by time.perf_counter(), `at_once`: runs that shared the machine.

    `skipped_examples` are those that all workers left out.
    """

    steps: Sequence[StepRecord]
    timer: StepTimer
    began: float
    at_once: int
    skipped_examples: int
    error: Diverged | None


def finish(worker: Worker, trained: Trained) -> RunResult:
    """Return the result of all workers together, and write it."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    everyone = worker.backend.gather_over_ranks(np.array([memory], dtype=np.float64))
    result = summarise(
        worker.config,
        "completed" if trained.error is None else "diverged",
        steps=trained.steps,
        metric=worker.prepared.metric,
        wall_seconds=time.perf_counter() - trained.began,
        peak_memory_bytes=int(everyone.max()),
        threads=worker.threads,
        at_once=trained.at_once,
        skipped_examples=trained.skipped_examples,
        error=None if trained.error is None else str(trained.error),
    )
    if worker.leads:
        result = _write(worker, trained, result)
    return result


def _write(worker: Worker, trained: Trained, result: RunResult) -> RunResult:
    if not worker.config.checkpoint.keep_final:
        worker.checkpoints.clear()
    timed = trained.steps[result.discarded_steps :]
    found = {
        "timeline": _breakdown(worker, timed, trained.timer),
        "wall_images_per_second": wall_rate(result.global_batch, timed, trained.timer),
    }
    result = result.model_copy(update=found)
    worker.folder.write_result(result)
    return result


def wall_rate(global_batch: int, timed: Sequence[StepRecord], timer: StepTimer) -> float | None:
    """Return images a second from the begin of the first timed step of this start to the end of the last one.

    What is left out of a step's time is part of this: validation, checkpoints, records, hashes of batches.
    """
    if not timed or not timer.spans:  # a run that was resumed at its end does no step
        return None
    spans = _spans(timed, timer)
    return float(global_batch * len(spans) / (spans[-1, 1] - spans[0, 0]))


def _spans(timed: Sequence[StepRecord], timer: StepTimer) -> NDArray[np.float64]:
    """Return begin and end of each timed step of this start, by the timer's clock, shape (steps, 2)."""
    return np.array(timer.spans).reshape(-1, 2)[-(timed[-1].step - timed[0].step + 1) :]


def _breakdown(worker: Worker, timed: Sequence[StepRecord], timer: StepTimer) -> StepBreakdown | None:
    """Return how the timed steps of this start divide by Horovod's timeline, where the run has one."""
    file = worker.folder.timeline_file
    if not timed or not timer.spans or not timeline.timeline_environment(worker.config, file) or not file.exists():
        return None
    since_epoch = time.time() - time.perf_counter()
    return timeline.divide(timeline.read(file), since_epoch + _spans(timed, timer))
