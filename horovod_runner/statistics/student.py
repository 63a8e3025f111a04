"""Student's t: how far the mean of a few independent samples may be from the truth.

The one place in which a quantile is taken. SciPy is imported when one is asked for, because planning and reading a
report must not wait for it; and of SciPy only `special`, since `stats` takes another second.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from horovod_runner.statistics.interval import FEWEST_SAMPLES, LEVEL, Interval

ROUNDING = 1e-12
"""Of the largest value: what is smaller came from rounding."""


def quantile(freedom: float, level: float = LEVEL) -> float:
    """Return how many standard errors a two-sided interval of confidence 1 - `level` reaches to either side.

    `freedom`: degrees of freedom, for the mean of n samples n - 1; infinite for the normal distribution.
    """
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 1 - level / 2))


def half_width(samples: ArrayLike, level: float = LEVEL) -> float | None:
    """Return half the interval of the mean of independent samples, shape (samples,); None below three."""
    values = np.asarray(samples, dtype=np.float64)
    if len(values) < FEWEST_SAMPLES:
        return None
    return float(quantile(len(values) - 1, level) * np.std(values, ddof=1) / math.sqrt(len(values)))


def below(samples: ArrayLike) -> float:
    """Return the one-sided p-value that the mean of independent samples, shape (samples,), is below 0.

    Samples that are all alike but for rounding leave no doubt: 0, 1, or, where all are 0, a half.
    """
    from scipy.special import stdtr

    values = np.asarray(samples, dtype=np.float64)
    mean, error = float(values.mean()), float(np.std(values, ddof=1)) / math.sqrt(len(values))
    if error <= ROUNDING * float(np.abs(values).max()):
        return 0.5 if abs(mean) <= error else float(mean > 0)
    return float(stdtr(len(values) - 1, mean / error))


def around(mean: float, samples: ArrayLike, level: float = LEVEL) -> Interval:
    """Return `mean` with the interval that the scatter of independent samples gives it; no bounds below three."""
    half = half_width(samples, level)
    return Interval(mean, None, None) if half is None else Interval(mean, mean - half, mean + half)


def geometric(logarithms: ArrayLike, level: float = LEVEL) -> Interval:
    """Return the geometric mean of independent positive samples, from their logarithms; no bounds below three."""
    mean = float(np.asarray(logarithms, dtype=np.float64).mean())
    half = half_width(logarithms, level)
    bounds = (None, None) if half is None else (math.exp(mean - half), math.exp(mean + half))
    return Interval(math.exp(mean), *bounds)
