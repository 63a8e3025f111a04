"""The result of a run, made from its recorded steps: summaries are derived, raw samples stay."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from horovod_runner.config.schema import RunConfig
from horovod_runner.results import record
from horovod_runner.results.record import Metric, RunResult, Status, StepRecord
from horovod_runner.statistics import noise_scale, throughput
from horovod_runner.statistics.warm_up import settles, warm_up


def summarise(
    config: RunConfig,
    status: Status,
    *,
    steps: Sequence[StepRecord] = (),
    metric: str = "",
    wall_seconds: float = 0.0,
    peak_memory_bytes: int | None = None,
    threads: int | None = None,
    at_once: int = 1,
    skipped_examples: int = 0,
    error: str | None = None,
    log_tail: Sequence[str] = (),
) -> RunResult:
    """Return the result of a run that ended in this way after these steps.

    Runs that were done several `at_once` shared cores, in processes that were warm: none of their steps is timed.
    """
    first = config.discard_steps
    if first is None:
        first = steps[slow - 1].step if (slow := warm_up([s.step_seconds for s in steps])) else 0
    timed = [s for s in steps if s.step > first and math.isfinite(s.train_loss) and at_once == 1]
    validated = [s for s in steps if s.val_loss is not None and s.val_metric is not None]
    target = config.target.metric
    return RunResult(
        run_id=config.run_id,
        experiment=config.experiment,
        status=status,
        framework=config.framework,
        workload=config.workload,
        workers=config.workers,
        local_batch=config.local_batch or 0,
        global_batch=config.global_batch or 0,
        scaling=config.scaling,
        seed=config.seed,
        repeat=config.repeat,
        epochs=steps[-1].epoch if steps else 0,
        steps=steps[-1].step if steps else 0,
        **_timings(timed, config.global_batch or 0),
        gradient_noise=_gradient_noise(config, steps),
        train_loss=_epoch_means(steps),
        val_loss=tuple(s.val_loss for s in validated if s.val_loss is not None),
        val_metric=Metric(name=metric, values=tuple(s.val_metric or 0.0 for s in validated)) if validated else None,
        wall_seconds=wall_seconds,
        peak_memory_bytes=peak_memory_bytes if at_once == 1 else None,
        timed_steps=len(timed),
        discarded_steps=len(steps) - len(timed),
        settled=settles([s.step_seconds for s in steps]) if timed else None,
        threads=threads,
        at_once=at_once,
        skipped_examples=skipped_examples,
        validated_steps=tuple(s.step for s in validated),
        validated_epochs=tuple(s.epoch for s in validated),
        target=target,
        steps_to_target=None if target is None else first_reaching(target, steps),
        trivial_metric=validated[-1].trivial_metric if validated else None,
        learned_above=validated[-1].learned_above if validated else None,
        error=error,
        log_tail=tuple(log_tail),
    )


def first_reaching(target: float, steps: Iterable[StepRecord]) -> int | None:
    """Return the first step whose validation metric is no less than the target; None where there is none.

    Shallue et al. 2019 (arXiv:1811.03600) call it steps to result.
    """
    return next((s.step for s in steps if s.val_metric is not None and s.val_metric >= target), None)


def _timings(timed: Sequence[StepRecord], global_batch: int) -> dict[str, Any]:
    """Return throughput and step times; nothing where no step was timed."""
    if not timed:
        return {}
    seconds = np.array([s.worker_seconds for s in timed])
    return {
        "images_per_second": throughput.throughput(seconds, global_batch),
        "step_seconds": throughput.step_seconds(seconds),
        "slowest_worker": throughput.slowest_worker(seconds),
        "worker_seconds": tuple(seconds.mean(axis=0).tolist()),
        **_readiness(timed),
        "data_wait_fraction": sum(s.data_seconds for s in timed) / sum(s.step_seconds for s in timed),
    }


def _readiness(timed: Sequence[StepRecord]) -> dict[str, Any]:
    """Return when workers reach their first reduction; nothing where nothing is reduced."""
    if not all(s.ready_seconds for s in timed):
        return {}
    seconds = np.array([s.ready_seconds for s in timed])
    return {"ready_seconds": tuple(seconds.mean(axis=0).tolist()), "last_to_reduce": throughput.straggler(seconds)}


def _gradient_noise(config: RunConfig, steps: Sequence[StepRecord]) -> record.NoiseScale | None:
    """Return the gradient noise scale of the steps that measured it; None where none did."""
    measured = [s for s in steps if s.shard_squared_norm is not None and s.mean_squared_norm is not None]
    if not measured:
        return None
    norms = np.array([(s.shard_squared_norm, s.mean_squared_norm) for s in measured], dtype=np.float64)
    batches = config.shard_batch, config.global_batch or 0
    traces, squares = noise_scale.estimates(norms[:, 0], norms[:, 1], *batches)
    epochs = np.array([s.epoch for s in measured])
    return record.NoiseScale(
        shard_batch=batches[0],
        global_batch=batches[1],
        steps=len(measured),
        trace=float(traces.mean()),
        squared_gradient=float(squares.mean()),
        simple=noise_scale.of_steps(traces, squares),
        by_epoch=noise_scale.by_epoch(traces, squares, epochs),
    )


def _epoch_means(steps: Iterable[StepRecord]) -> tuple[float, ...]:
    """Return the mean training loss of each epoch."""
    return tuple(float(np.mean([s.train_loss for s in group])) for _, group in groupby(steps, key=lambda s: s.epoch))
