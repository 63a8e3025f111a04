"""The alpha-beta model of a message's time, t = alpha + bytes / beta, fitted to measured times. Numbers only.

(Hockney, "The communication challenge for MPP: Intel Paragon and Meiko CS-2", Parallel Computing 20, 1994.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from horovod_runner.statistics import student

FEWEST_SIZES = 3


class Estimate(NamedTuple):
    """A number and its 95 % confidence interval."""

    value: float
    low: float
    high: float


class AlphaBetaFit(NamedTuple):
    """alpha in seconds, beta in bytes per second, and where the line is furthest off, as (model - time) / time."""

    alpha: Estimate
    beta: Estimate
    worst_residual: float
    worst_bytes: int


def fit(sizes: Sequence[int], seconds: Sequence[float]) -> AlphaBetaFit | None:
    """Fit the model to one time for each size; None where there are fewer than three sizes.

    Least squares of the relative errors, neither parameter negative: times span six orders of magnitude, and none of
    them may be all that counts. The intervals are the jackknife's, leaving out one size at a time (Efron & Tibshirani,
    "An Introduction to the Bootstrap", 1993, chapter 11): they say how much hangs on which sizes were measured, and
    nothing about a curve that is no line, for which there is the largest residual. An infinite bound is one that the
    times do not set.
    """
    if len(sizes) < FEWEST_SIZES:
        return None
    x, t = np.asarray(sizes, float), np.asarray(seconds, float)
    alpha, slope = _solve(x, t)
    left_out = np.array([_solve(np.delete(x, i), np.delete(t, i)) for i in range(len(x))])
    a, s = (_interval(value, left_out[:, column]) for column, value in enumerate((alpha, slope)))
    residuals = (alpha + slope * x) / t - 1
    worst = int(np.abs(residuals).argmax())
    beta = Estimate(_over(slope), _over(s.high), _over(s.low))
    return AlphaBetaFit(a, beta, float(residuals[worst]), int(sizes[worst]))


def _solve(x: np.ndarray, t: np.ndarray) -> tuple[float, float]:
    """Return alpha and 1 / beta, both at least zero, that make (alpha + x / beta) / t closest to 1."""
    from scipy.optimize import nnls

    columns = np.stack([1 / t, x / t], axis=1)
    scale = np.abs(columns).max(axis=0)
    solved, _ = nnls(columns / scale, np.ones(len(t)))
    alpha, slope = solved / scale
    return float(alpha), float(slope)


def _interval(value: float, left_out: np.ndarray) -> Estimate:
    """Return an estimate that is at least zero with its jackknife interval, from those that lack one point each."""
    count = len(left_out)
    error = math.sqrt((count - 1) / count * float(((left_out - left_out.mean()) ** 2).sum()))
    half = student.quantile(count - 1) * error
    return Estimate(value, max(0.0, value - half), value + half)


def _over(slope: float) -> float:
    return 1 / slope if slope > 0 else math.inf


def busbw(algbw: float, ranks: int) -> float:
    """Return what an allreduce's bytes per second ask of the slowest link: algbw * 2 (ranks - 1) / ranks.

    (nccl-tests, doc/PERFORMANCE.md: each rank sends and receives that many times the message at least, so that the
    figure can be compared with the hardware's, whatever the number of ranks.)
    """
    return algbw * 2 * (ranks - 1) / ranks


def ring_seconds(count: int, ranks: int, rate_mbit: float) -> float:
    """Return the least seconds of a ring allreduce of so many bytes over links of this rate, at equal use of both ways.

    Every host sends, and receives, 2 (N - 1) / N of the bytes (Patarasuk & Yuan, "Bandwidth optimal all-reduce
    algorithms for clusters of workstations", J. Parallel Distrib. Comput. 69, 2009), however many of the ring's ranks
    are on it: one neighbour is behind each way of its link.
    """
    return count * 2 * (ranks - 1) / ranks * 8 / (rate_mbit * 1e6)
