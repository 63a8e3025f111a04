"""How many equal runs a figure needs. The unit is the run, never the step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from horovod_runner.statistics import student
from horovod_runner.statistics.interval import FEWEST_SAMPLES

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
        if student.quantile(middle - 1) * scatter <= half_width * math.sqrt(middle):
            high = middle
        else:
            low = middle + 1
    return low
