"""The gradient noise scale from squared norms.

How far a batch's gradient is from the whole data's shows in two batch sizes at once: each shard's gradient and their
average (McCandlish, Kaplan, Amodei et al., "An Empirical Model of Large-Batch Training", 2018, appendix A.1). With
E|G_B|^2 = |G|^2 + tr(Sigma) / B both unknowns follow from the squared norms at B_small and B_big, without bias; but a
ratio of two noisy estimates is biased, so both are averaged first: over steps, over seeds, and only then divided.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from horovod_runner.statistics import student
from horovod_runner.statistics.interval import FEWEST_SAMPLES, Interval

BLOCKS = 10


class Estimates(NamedTuple):
    """Of every step: tr(Sigma), the summed variance of one example's gradient, and |G|^2. One of a step is noisy."""

    traces: NDArray[np.float64]
    squares: NDArray[np.float64]


def estimates(shard_squared: ArrayLike, mean_squared: ArrayLike, shard_batch: int, global_batch: int) -> Estimates:
    """Return the unbiased estimates of every step (McCandlish et al. 2018, appendix A.1).

    `shard_squared`: the mean over shards of the squared norm of a shard's gradient, over `shard_batch` examples;
    `mean_squared`: the squared norm of the averaged gradient, over `global_batch`. ValueError if the batches are equal.
    """
    if not 0 < shard_batch < global_batch:
        raise ValueError(f"the noise shows between two batches, and {shard_batch} is not below {global_batch}")
    small, big = np.asarray(shard_squared, np.float64), np.asarray(mean_squared, np.float64)
    traces = (small - big) / (1 / shard_batch - 1 / global_batch)
    return Estimates(traces, (global_batch * big - shard_batch * small) / (global_batch - shard_batch))


def simple(traces: ArrayLike, squares: ArrayLike) -> float | None:
    """Return B_simple = mean tr(Sigma) / mean |G|^2, in examples; None where the estimate of |G|^2 is not positive."""
    trace, square = (float(np.asarray(values, np.float64).mean()) for values in (traces, squares))
    return trace / square if square > 0 else None


def of_steps(traces: ArrayLike, squares: ArrayLike) -> Interval | None:
    """Return B_simple over consecutive steps with its 95 % interval; None where |G|^2 is lost in the noise.

    The samples are the means of ten blocks of consecutive steps (fewer below twenty steps), for neighbouring steps
    resemble each other. What changes while a model is trained makes blocks differ and the interval wide.
    """
    numbers = [np.asarray(values, np.float64) for values in (traces, squares)]
    blocks = max(1, min(BLOCKS, len(numbers[0]) // 2))
    means = [np.array([part.mean() for part in np.array_split(values, blocks)]) for values in numbers]
    return _interval(simple(*numbers), *means)


def over_samples(traces: ArrayLike, squares: ArrayLike) -> Interval | None:
    """Return the ratio of means of independent samples, as seeds are, with its 95 % interval; None as for `simple`."""
    return _interval(simple(traces, squares), np.asarray(traces, np.float64), np.asarray(squares, np.float64))


def factor(ratios: ArrayLike) -> Interval | None:
    """Return the geometric mean of independent positive ratios, as of seeds, with its 95 % interval; None of none."""
    logarithms = np.log(np.asarray(ratios, np.float64))
    return student.geometric(logarithms) if len(logarithms) else None


def by_epoch(traces: ArrayLike, squares: ArrayLike, epochs: ArrayLike) -> tuple[float | None, ...]:
    """Return B_simple of the steps of each epoch, in the order of epochs."""
    top, bottom, of = np.asarray(traces), np.asarray(squares), np.asarray(epochs)
    return tuple(simple(top[of == epoch], bottom[of == epoch]) for epoch in np.unique(of))


def _interval(ratio: float | None, traces: NDArray[np.float64], squares: NDArray[np.float64]) -> Interval | None:
    """Return the interval of a ratio of means by Fieller's theorem (Fieller 1954), with Student's t.

    It holds every r that the samples of trace - r square do not contradict. The bounds are None below three samples,
    and where |G|^2 itself is not clear of zero: then no ratio, however large, is excluded.
    """
    if ratio is None or len(traces) < FEWEST_SAMPLES:
        return None if ratio is None else Interval(ratio, None, None)
    (var_trace, both), (_, var_square) = np.cov(traces, squares) / len(traces) * student.quantile(len(traces) - 1) ** 2
    trace, square = float(traces.mean()), float(squares.mean())
    a, b, c = square**2 - var_square, trace * square - both, trace**2 - var_trace
    if a <= 0:
        return Interval(ratio, None, None)
    root = math.sqrt(max(0.0, b * b - a * c))
    return Interval(ratio, float((b - root) / a), float((b + root) / a))
