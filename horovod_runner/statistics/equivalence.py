"""The equivalence test: whether a difference is so small that it does not matter, by a margin stated beforehand."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from horovod_runner.statistics import student
from horovod_runner.statistics.interval import FEWEST_SAMPLES, LEVEL


class Equivalence(NamedTuple):
    """The outcome of two one-sided tests: the p-value, the mean difference and its 90 % confidence interval."""

    p: float
    mean: float
    low: float
    high: float

    @property
    def shown(self) -> bool:
        """Whether the difference is shown to lie within the margin."""
        return self.p < LEVEL


def equivalence(differences: ArrayLike, margin: float) -> Equivalence:
    """Test that the mean of paired differences lies within +-margin (Schuirmann 1987: two one-sided t-tests).

    The p-value is the larger one of the two; below 0.05, the 90 % interval lies within the margin. Without any scatter
    p is 0 or 1. ValueError below three differences.
    """
    samples = np.asarray(differences, dtype=np.float64)
    if len(samples) < FEWEST_SAMPLES:
        raise ValueError(f"an equivalence test needs at least {FEWEST_SAMPLES} differences, not {len(samples)}")
    from scipy.special import stdtr

    mean, error = float(samples.mean()), float(np.std(samples, ddof=1) / math.sqrt(len(samples)))
    if error == 0:
        return Equivalence(0.0 if abs(mean) < margin else 1.0, mean, mean, mean)
    freedom = len(samples) - 1
    p = float(stdtr(freedom, (abs(mean) - margin) / error))
    half = student.quantile(freedom, 2 * LEVEL) * error
    return Equivalence(p, mean, mean - half, mean + half)
