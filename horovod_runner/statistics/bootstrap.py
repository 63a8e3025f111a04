"""The bootstrap, for few samples: what other runs or seeds might have given, and the interval that comes of it.

Numbers in, numbers out. What is drawn is a whole run, or a whole seed, never a step.

Plain percentiles of resampled means are too narrow for a handful of samples: by sqrt((n - 1) / n), since a resample
scatters by so much less than the sample, and because the normal quantile is not Student's (at five together by a factor
of 1.6). `expansion` is this factor, for every interval of this suite: either the percentiles are taken as much further
out (the expanded percentile interval of Hesterberg, "What Teachers Should Know About the Bootstrap", The American
Statistician 69, 2015, section 4.2), or, where that would be beyond what a thousand draws reach, the distances from the
mean are widened by it. For a mean both agree with Student's interval.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from horovod_runner.statistics import student
from horovod_runner.statistics.interval import LEVEL, Interval

Array = NDArray[np.float64]
RESAMPLES = 1000


def expansion(samples: int) -> float:
    """Return by what factor the percentile interval of so many samples, two or more, is too narrow."""
    return student.quantile(samples - 1) / student.quantile(math.inf) * math.sqrt(samples / (samples - 1))


def expansion_of_two(first: ArrayLike, second: ArrayLike) -> float:
    """Return that of a ratio or difference of two samples' means, of equal scale: degrees of freedom after Welch.

    Without any scatter it is 1.
    """
    sides = [np.asarray(side, dtype=np.float64) for side in (first, second)]
    errors = np.array([np.var(side, ddof=1) / len(side) for side in sides])
    if errors.sum() == 0:
        return 1.0
    counts = np.array([len(side) for side in sides])
    freedom = errors.sum() ** 2 / (errors**2 / (counts - 1)).sum()
    shrunk = (errors * (counts - 1) / counts).sum()
    return student.quantile(freedom) / student.quantile(math.inf) * math.sqrt(errors.sum() / shrunk)


def percentiles(value: float, drawn: ArrayLike) -> Interval:
    """Return the percentile interval (95 %) of an estimate from what resampling made of it; bounds may be infinite."""
    tail = LEVEL / 2
    low, high = np.quantile(np.asarray(drawn, dtype=float), (tail, 1 - tail), method="inverted_cdf")
    return Interval(float(value), float(low), float(high))


def expanded(value: float, drawn: ArrayLike, factor: float) -> Interval:
    """Return the interval between percentiles that are taken `factor` times as many sigmas out as 95 % would be."""
    from scipy.special import ndtr

    tail = float(ndtr(-factor * student.quantile(math.inf)))
    low, high = np.quantile(np.asarray(drawn, dtype=float), [tail, 1 - tail])
    return Interval(value, float(low), float(high))


def resampled(runs: ArrayLike, generator: np.random.Generator, count: int = RESAMPLES) -> Array:
    """Return means over runs as other runs might have given them, their distances from the mean widened.

    `runs`: figures of each run, shape (runs, figures), at least three runs; returns shape (count, figures).

    Arms are resampled independently, although their runs are interleaved in blocks: a block that a drift has slowed
    down as a whole then makes intervals wider than they need to be, never narrower, and a block in which an arm failed
    does not have to be thrown away.
    """
    values = np.asarray(runs, dtype=float)
    number = len(values)
    drawn = values[generator.integers(0, number, (count, number))].mean(axis=1)
    mean = values.mean(axis=0)
    widened: Array = mean + (drawn - mean) * expansion(number)
    return widened
