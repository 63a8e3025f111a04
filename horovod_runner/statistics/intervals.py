"""Numbers from numbers: throughput with its confidence interval, step-time statistics, the slowest worker, ratios.

NumPy arrays in, named tuples out, whose fields are those of `record.Interval`, `Seconds` and `SlowestWorker`
(`record.Interval(**throughput(...)._asdict())`). Nothing of ours is imported, and SciPy only when a quantile is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

BLOCKS = 10
SHORTEST_BLOCK = 2
FEWEST_SAMPLES = 3
WARM_UP_BATCH = 5
FEW_STEPS = 5


class Bounded(Protocol):
    """Whatever has a mean and the bounds of its 95 % confidence interval: our `Interval`, or the record's."""

    @property
    def mean(self) -> float:
        """The estimate."""

    @property
    def ci95_low(self) -> float | None:
        """The lower bound, or None."""

    @property
    def ci95_high(self) -> float | None:
        """The upper bound, or None."""


class Interval(NamedTuple):
    """A mean and its 95 % confidence interval; the bounds are None where too few samples support one."""

    mean: float
    ci95_low: float | None
    ci95_high: float | None


class Seconds(NamedTuple):
    """Order statistics of step seconds."""

    median: float
    p95: float
    min: float
    max: float


class LateWorker(NamedTuple):
    """The worker that is ready last, and by what fraction later than the median of the others."""

    rank: int
    later: Interval


class SlowestWorker(NamedTuple):
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
    return _as_rate(clock.mean(), _half_width(blocks), global_batch)


def over_runs(images_per_second: Sequence[float]) -> Interval:
    """Return the throughput of equal runs together, with a 95 % confidence interval in which a run is one sample.

    Times are averaged and then inverted (runs of equal work: all samples over all time). The bounds are None below
    three runs; where the runs scatter so widely that the interval of the time reaches zero, the upper one is infinite.
    """
    seconds = 1.0 / np.asarray(images_per_second, dtype=float)
    return _as_rate(seconds.mean(), _half_width(seconds), 1)


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


def late_worker(ready_seconds: ArrayLike) -> LateWorker | None:
    """Return the worker with the largest mean seconds until it is ready; None for a worker without others.

    `ready_seconds`: of every timed step, shape (steps, workers). The interval comes from blocks of consecutive steps,
    as that of `throughput` does; the worker was chosen as the last one, so that a small excess says nothing of it.
    """
    seconds = np.asarray(ready_seconds, dtype=np.float64)
    if seconds.ndim != 2 or seconds.shape[1] < 2:
        return None
    blocks = np.array([block.mean(axis=0) for block in np.array_split(seconds, _blocks(len(seconds)))])
    rank = int(seconds.mean(axis=0).argmax())
    return LateWorker(rank, _mean_of(lateness(blocks, rank), float(lateness(seconds.mean(axis=0), rank))))


def lateness(ready_seconds: ArrayLike, rank: int) -> NDArray[np.float64]:
    """Return by what fraction a worker is later than the median of the others; (..., workers) gives (...)."""
    seconds = np.asarray(ready_seconds, dtype=np.float64)
    return np.asarray(seconds[..., rank] / np.median(np.delete(seconds, rank, axis=-1), axis=-1) - 1)


def ratio(numerator: Bounded, denominator: Bounded) -> Interval:
    """Return numerator / denominator of two independent estimates, with a 95 % confidence interval.

    The distances of the bounds are combined in quadrature on the logarithmic scale (MOVER: Zou & Donner, "Construction
    of confidence limits about effect measures: a general approach", Statistics in Medicine 27, 2008). The bounds are
    None where a part has none.
    """
    value = numerator.mean / denominator.mean
    bounds = (numerator.ci95_low, numerator.ci95_high, denominator.ci95_low, denominator.ci95_high)
    if any(bound is None or not 0 < bound < math.inf for bound in bounds):
        return Interval(value, None, None)
    low, high, below, above = (math.log(bound) for bound in bounds if bound is not None)
    top, bottom = math.log(numerator.mean), math.log(denominator.mean)
    down, up = math.hypot(top - low, above - bottom), math.hypot(high - top, bottom - below)
    return Interval(value, value * math.exp(-down), value * math.exp(up))


def times(interval: Bounded, factor: float) -> Interval:
    """Return the interval with everything multiplied by a positive constant."""
    low, high = interval.ci95_low, interval.ci95_high
    return Interval(
        interval.mean * factor, None if low is None else low * factor, None if high is None else high * factor
    )


def warm_up(seconds: ArrayLike) -> int:
    """Return how many of the first steps of a run are warm-up, from the seconds of its steps in order, shape (steps,).

    MSER-5 (White, Cobb & Spratt, "A comparison of five steady-state truncation heuristics for simulation", Winter
    Simulation Conference 2000; the rule itself: White, "An effective truncation heuristic for bias reduction in
    simulation output", Simulation 69, 1997): drop the batches of five steps without which the mean of the others has
    the least standard error, sum((x - mean)^2) / count^2. At least one step where there are more than five (the first
    traces and allocates), and never more than half of them: where the rule would, the run never settled.

    A step further than three sigma (by the median absolute deviation) from the median of the second half counts as if
    it were at three: one hiccup in the middle of a run is no end of a warm-up, and must not cost all steps before it.
    """
    clock = np.asarray(seconds, dtype=np.float64)
    if len(clock) <= FEW_STEPS:
        return 0
    settled = clock[len(clock) // 2 :]
    middle = np.median(settled)
    sigma = max(1.4826 * np.median(np.abs(settled - middle)), 1e-3 * abs(middle))
    clipped = np.clip(clock, middle - 3 * sigma, middle + 3 * sigma)
    batches = clipped[: len(clock) // WARM_UP_BATCH * WARM_UP_BATCH].reshape(-1, WARM_UP_BATCH).mean(axis=1)
    most = len(clock) // 2 // WARM_UP_BATCH
    errors = [batches[drop:].var() / (len(batches) - drop) for drop in range(most + 1)]
    # What differs by rounding alone is equal: of equals the first, which drops least.
    least = min(errors) + 1e-12 * float(middle) ** 2
    return max(1, WARM_UP_BATCH * next(drop for drop, error in enumerate(errors) if error <= least))


class Equivalence(NamedTuple):
    """The outcome of two one-sided tests: the p-value, the mean difference and its 90 % confidence interval."""

    p: float
    mean: float
    low: float
    high: float


def equivalence(differences: ArrayLike, margin: float) -> Equivalence:
    """Test that the mean of paired differences lies within +-margin (Schuirmann 1987: two one-sided t-tests).

    The p-value is the larger one of the two; below 0.05, the 90 % interval lies within the margin. Without any scatter
    p is 0 or 1. ValueError below three differences.
    """
    samples = np.asarray(differences, dtype=np.float64)
    if len(samples) < FEWEST_SAMPLES:
        raise ValueError(f"an equivalence test needs at least {FEWEST_SAMPLES} differences, not {len(samples)}")
    from scipy.special import stdtr, stdtrit

    mean, error = float(samples.mean()), float(np.std(samples, ddof=1) / math.sqrt(len(samples)))
    if error == 0:
        return Equivalence(0.0 if abs(mean) < margin else 1.0, mean, mean, mean)
    freedom = len(samples) - 1
    p = float(stdtr(freedom, (abs(mean) - margin) / error))
    half = float(stdtrit(freedom, 0.95)) * error
    return Equivalence(p, mean, mean - half, mean + half)


def _blocks(steps: int) -> int:
    return max(1, min(BLOCKS, steps // SHORTEST_BLOCK))


def _mean_of(samples: NDArray[np.float64], mean: float) -> Interval:
    half = _half_width(samples)
    return Interval(mean, None, None) if half is None else Interval(mean, mean - half, mean + half)


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


def _half_width(samples: NDArray[np.float64]) -> float | None:
    """Return half the 95 % confidence interval of the mean of independent samples, or None where they are too few."""
    if len(samples) < FEWEST_SAMPLES:
        return None
    # Imported here, because reading a report must not wait for SciPy.
    from scipy.special import stdtrit

    quantile = stdtrit(len(samples) - 1, 0.975)
    return float(quantile * np.std(samples, ddof=1) / math.sqrt(len(samples)))


def _as_rate(seconds: float, half_width: float | None, amount: float) -> Interval:
    """Turn a mean time and half its interval into amount / time."""
    if half_width is None:
        return Interval(float(amount / seconds), None, None)
    fastest = seconds - half_width
    high = amount / fastest if fastest > 0 else math.inf
    return Interval(float(amount / seconds), float(amount / (seconds + half_width)), float(high))
