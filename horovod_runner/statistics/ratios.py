"""Two samples of runs against each other: the ratio of their means, a rank test, and the correction for many of them.

Numbers in, numbers out. Every value is one independent run (or one seed), never a step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from horovod_runner.statistics import student
from horovod_runner.statistics.bootstrap import expanded, expansion_of_two
from horovod_runner.statistics.interval import FEWEST_SAMPLES, LEVEL, Interval

RESAMPLES = 10_000


def bootstrap_ratio(numerator: ArrayLike, denominator: ArrayLike, generator: np.random.Generator) -> Interval:
    """Return mean(numerator) / mean(denominator) of two independent samples, with a bootstrap 95 % interval.

    Each side's values are drawn with replacement, 10,000 times, and the interval lies between two percentiles of the
    ratios, expanded for few values (see `bootstrap`; degrees of freedom after Welch). From four values a side on it
    covers what it promises, at three, which have few resamples, 90 %. The bounds are None below three values a side.
    ValueError when a value is not finite, or the mean below the line is not positive.
    """
    top, bottom = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    if not (np.isfinite(top).all() and np.isfinite(bottom).all() and bottom.mean() > 0):
        raise ValueError("a ratio of means needs finite values, and positive ones below the line")
    value = float(top.mean() / bottom.mean())
    if min(len(top), len(bottom)) < FEWEST_SAMPLES:
        return Interval(value, None, None)
    ratios = _resampled_means(top, generator) / _resampled_means(bottom, generator)
    return expanded(value, ratios, expansion_of_two(top / (top.mean() or 1.0), bottom / bottom.mean()))


def paired_ratio(numerator: ArrayLike, denominator: ArrayLike) -> Interval:
    """Return the geometric mean of the ratios of paired positive values, with its 95 % interval by Student's t.

    Shape (pairs,) each; the bounds are None below three pairs.
    """
    return student.geometric(np.log(np.asarray(numerator, dtype=np.float64) / np.asarray(denominator)))


def paired_test(lower: ArrayLike, upper: ArrayLike) -> float:
    """Return the one-sided p-value that of paired positive values `lower` is below `upper`: Student's t of log ratios.

    1 below three pairs.
    """
    ratios = np.log(np.asarray(lower, dtype=np.float64) / np.asarray(upper, dtype=np.float64))
    if len(ratios) < FEWEST_SAMPLES:
        return 1.0
    return student.below(ratios)


def rank_test(lower: ArrayLike, upper: ArrayLike) -> float:
    """Return the one-sided p-value of Mann & Whitney (1947) that values of `lower` tend to lie below those of `upper`.

    Exact where a side has at most eight values. Equal values count against the claim, so p is never too small.
    """
    from scipy.stats import mannwhitneyu

    below, above = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
    claims_less = np.repeat([1, 0], [len(below), len(above)])
    ranks = np.argsort(np.lexsort((claims_less, np.concatenate([below, above]))))
    return float(mannwhitneyu(ranks[: len(below)], ranks[len(below) :], alternative="less").pvalue)


def smallest_p(first: int, second: int) -> float:
    """Return the least p-value that an exact rank test of so many values a side can have: one over all arrangements."""
    return 1 / math.comb(first + second, first)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, in their order (Holm, Scandinavian Journal of Statistics 6, 1979).

    Whoever rejects those below 0.05 is wrong about any of them with a probability of at most 0.05.
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for done, place in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - done) * p_values[place]))
        corrected[place] = largest
    return corrected


def runs_to_reach(comparisons: int) -> int:
    """Return how many runs a side an exact rank test needs, to be able to fall below 0.05 among so many comparisons."""
    runs = 1
    while comparisons * smallest_p(runs, runs) >= LEVEL:
        runs += 1
    return runs


def runs_to_tell(ratio: Interval, runs: int, margin: float) -> int | None:
    """Return about how many runs a side would move the interval off the bounds 1 +- margin, at this ratio and scatter.

    `runs` a side made this interval, whose half width shrinks with the square root of their number. None where there
    is no interval, or it would take more than a thousand.
    """
    if ratio.ci95_low is None or ratio.ci95_high is None:
        return None
    distance = min(abs(ratio.mean - bound) for bound in (1 - margin, 1 + margin))
    half = max(ratio.ci95_high - ratio.mean, ratio.mean - ratio.ci95_low)
    needed = runs * (half / distance) ** 2 if distance > 0 else math.inf
    return math.ceil(needed) if needed <= 1000 else None


def _resampled_means(values: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    means: NDArray[np.float64] = values[generator.integers(len(values), size=(RESAMPLES, len(values)))].mean(axis=1)
    return means
