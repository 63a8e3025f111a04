"""What repeated runs carry: how many of them a figure needs, and what else they might have been.

Pure: numbers in, numbers out. The unit is the run, never the step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from horovod_runner.statistics.interval import FEWEST_SAMPLES, Interval

RESAMPLES = 1000
NORMAL = 1.959964  # the 97.5 % quantile of the normal distribution
MOST_RUNS = 1_000_000


def repeats_for(samples: Sequence[float], half_width: float = 0.01) -> int | None:
    """Return how many equal runs it takes until the 95 % interval of their mean is +-`half_width` of the mean.

    `samples`: a figure of each run that there is, such as its mean step seconds; its scatter is taken for that of all
    runs to come. The least n with t(0.975, n - 1) s / (m sqrt(n)) <= half_width (Hoefler & Belli, SC15, section 4.2.2),
    at least three and at most a million; None below three samples. From few samples the scatter itself is known badly:
    from five, the n of the true scatter lies between a third and eight times this one.
    """
    values = np.asarray(samples, dtype=float)
    if len(values) < FEWEST_SAMPLES:
        return None
    scatter = float(values.std(ddof=1) / abs(values.mean()))
    low, high = FEWEST_SAMPLES, MOST_RUNS
    while low < high:
        middle = (low + high) // 2
        if student(middle) * scatter <= half_width * math.sqrt(middle):
            high = middle
        else:
            low = middle + 1
    return low


def student(count: int) -> float:
    """Return the 97.5 % quantile of Student's t for the mean of so many samples."""
    # Imported here, because reading a report must not wait for SciPy.
    from scipy.special import stdtrit

    return float(stdtrit(count - 1, 0.975))


def resampled(runs: ArrayLike, generator: np.random.Generator, count: int = RESAMPLES) -> NDArray[np.float64]:
    """Return means over runs as other runs might have given them: the bootstrap, a run being drawn whole.

    `runs`: figures of each run, shape (runs, figures), at least three runs; returns shape (count, figures).

    The percentiles of plain resampled means are too narrow for few runs: by sqrt((n - 1) / n), and because the normal
    quantile is not Student's (at five runs together by a factor of 1.6). So their distances from the mean are widened
    by as much, and the percentile interval of a mean agrees with Student's (the expanded percentile interval of
    Hesterberg, "What teachers should know about the bootstrap", The American Statistician 69, 2015, section 4.2, which
    moves the percentiles instead; they would lie beyond what a thousand resamples reach).

    Arms are resampled independently, although their runs are interleaved in blocks: a block that a drift has slowed
    down as a whole then makes intervals wider than they need to be, never narrower, and a block in which an arm failed
    does not have to be thrown away.
    """
    values = np.asarray(runs, dtype=float)
    number = len(values)
    drawn = values[generator.integers(0, number, (count, number))].mean(axis=1)
    mean = values.mean(axis=0)
    widened: NDArray[np.float64] = mean + (drawn - mean) * (student(number) / NORMAL * math.sqrt(number / (number - 1)))
    return widened


def percentiles(value: float, drawn: ArrayLike) -> Interval:
    """Return the percentile interval (95 %) of an estimate from what resampling made of it; bounds may be infinite."""
    low, high = np.quantile(np.asarray(drawn, dtype=float), (0.025, 0.975), method="inverted_cdf")
    return Interval(float(value), float(low), float(high))
