"""How fast a run was: images per second with their interval, step-time statistics, the slowest and the latest worker.

NumPy arrays in, frozen records out, which stand in a run's result as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from horovod_runner.statistics import student
from horovod_runner.statistics.interval import Interval

BLOCKS = 10
SHORTEST_BLOCK = 2


@dataclass(frozen=True)
class Seconds:
    """Order statistics of step seconds."""

    median: float
    p95: float
    min: float
    max: float


@dataclass(frozen=True)
class Straggler:
    """The worker that is ready last, and by what fraction later than the median of the others."""

    rank: int
    later: Interval


@dataclass(frozen=True)
class SlowestWorker:
    """The worker with the largest total of step seconds, and its median over the median of all workers' medians."""

    rank: int
    median_step_seconds: float
    ratio_to_median_worker: float


def throughput(worker_seconds: ArrayLike, global_batch: int) -> Interval:
    """Return images per second of all workers together, with the 95 % confidence interval of the mean.

    `worker_seconds`: seconds of every timed step, shape (steps, workers). The mean is all samples over the total time
    of the slowest worker's clock, never a mean of rates.

    The interval comes from the mean step times of ten blocks of consecutive steps (fewer when there are fewer than
    twenty steps) and Student's t, and is inverted into a rate. Neighbouring steps resemble each other (a prefetched
    batch, a busy core, a drifting clock rate), so single steps are not independent samples and an interval made from
    them is too narrow; the means of blocks that are longer than this memory nearly are (the method of batch means;
    on why and when: Hoefler & Belli, "Scientific Benchmarking of Parallel Computing Systems", SC15).
    The bounds are None below three blocks. ValueError when there is no step, or a time is not finite and positive.
    """
    clock = _slowest_clock(_checked(worker_seconds))
    blocks = np.array([block.mean() for block in np.array_split(clock, _blocks(len(clock)))])
    return _as_rate(clock.mean(), student.half_width(blocks), global_batch)


def over_runs(images_per_second: Sequence[float]) -> Interval:
    """Return the throughput of equal runs together, with a 95 % confidence interval in which a run is one sample.

    Times are averaged and then inverted (runs of equal work: all samples over all time). The bounds are None below
    three runs; where the runs scatter so widely that the interval of the time reaches zero, the upper one is infinite.
    """
    seconds = 1.0 / np.asarray(images_per_second, dtype=float)
    return _as_rate(seconds.mean(), student.half_width(seconds), 1)


def step_seconds(worker_seconds: ArrayLike) -> Seconds:
    """Return median, 95th percentile, least and largest step seconds; a step lasts as long as its slowest worker's.

    `worker_seconds`: shape (steps, workers). ValueError as for `throughput`.
    """
    steps = _checked(worker_seconds).max(axis=1)
    return Seconds(float(np.median(steps)), float(np.quantile(steps, 0.95)), float(steps.min()), float(steps.max()))


def slowest_worker(worker_seconds: ArrayLike) -> SlowestWorker:
    """Return the worker with the largest total of step seconds (the lowest rank of equals).

    `worker_seconds`: shape (steps, workers). ValueError as for `throughput`.
    """
    seconds = _checked(worker_seconds)
    rank = int(seconds.sum(axis=0).argmax())
    medians = np.median(seconds, axis=0)
    return SlowestWorker(rank, float(medians[rank]), float(medians[rank] / np.median(medians)))


def straggler(ready_seconds: ArrayLike) -> Straggler | None:
    """Return the worker with the largest mean seconds until it is ready; None for a worker without others.

    `ready_seconds`: of every timed step, shape (steps, workers). The interval comes from blocks of consecutive steps,
    as that of `throughput` does; the worker was chosen as the last one, so that a small excess says nothing of it.
    """
    seconds = np.asarray(ready_seconds, dtype=np.float64)
    if seconds.ndim != 2 or seconds.shape[1] < 2:
        return None
    blocks = np.array([block.mean(axis=0) for block in np.array_split(seconds, _blocks(len(seconds)))])
    rank = int(seconds.mean(axis=0).argmax())
    later = float(lateness(seconds.mean(axis=0), rank))
    return Straggler(rank, student.around(later, lateness(blocks, rank)))


def lateness(ready_seconds: ArrayLike, rank: int) -> NDArray[np.float64]:
    """Return by what fraction a worker is later than the median of the others; (..., workers) gives (...)."""
    seconds = np.asarray(ready_seconds, dtype=np.float64)
    return np.asarray(seconds[..., rank] / np.median(np.delete(seconds, rank, axis=-1), axis=-1) - 1)


def _blocks(steps: int) -> int:
    return max(1, min(BLOCKS, steps // SHORTEST_BLOCK))


def _checked(worker_seconds: ArrayLike) -> NDArray[np.float64]:
    seconds = np.asarray(worker_seconds, dtype=np.float64)
    if seconds.ndim != 2 or seconds.size == 0:
        raise ValueError(f"step seconds need the shape (steps, workers) and at least one of each, not {seconds.shape}")
    if not (np.isfinite(seconds).all() and (seconds > 0).all()):
        raise ValueError("step seconds must be finite and positive")
    return seconds


def _slowest_clock(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the step seconds of the worker that took longest over all of them, so that blocks add up to the total."""
    return seconds[:, seconds.sum(axis=0).argmax()]


def _as_rate(seconds: float, half_width: float | None, amount: float) -> Interval:
    """Turn a mean time and half its interval into amount / time."""
    if half_width is None:
        return Interval(float(amount / seconds), None, None)
    fastest = seconds - half_width
    high = amount / fastest if fastest > 0 else math.inf
    return Interval(float(amount / seconds), float(amount / (seconds + half_width)), float(high))
