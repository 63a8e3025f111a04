"""Student's t against SciPy's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from horovod_runner.statistics import student
from horovod_runner.statistics.interval import Interval


@pytest.mark.parametrize("freedom", [2, 4, 7.3, 99, math.inf])
@pytest.mark.parametrize("level", [0.1, 0.05, 0.001])
def test_a_quantile_is_two_sided(freedom: float, level: float) -> None:
    assert student.quantile(freedom, level) == pytest.approx(stats.t.isf(level / 2, freedom), rel=1e-9)


@pytest.mark.parametrize("samples", [3, 5, 30])
def test_the_interval_of_a_mean(samples: int) -> None:
    values = np.random.default_rng(samples).normal(7.0, 2.0, samples)
    found = student.around(float(values.mean()), values, level=0.01)
    low, high = stats.t.interval(0.99, samples - 1, loc=values.mean(), scale=stats.sem(values))
    assert (found.ci95_low, found.ci95_high) == pytest.approx((low, high), rel=1e-12)


def test_a_geometric_mean_is_that_of_the_logarithms() -> None:
    ratios = [1.1, 0.9, 1.3, 1.05]
    found, plain = student.geometric(np.log(ratios)), student.around(float(np.log(ratios).mean()), np.log(ratios))
    assert found.mean == pytest.approx(stats.gmean(ratios))
    assert plain.ci95_low is not None and found.ci95_low == pytest.approx(math.exp(plain.ci95_low))
    assert plain.ci95_high is not None and found.ci95_high == pytest.approx(math.exp(plain.ci95_high))


def test_two_samples_have_no_interval() -> None:
    assert student.around(2.0, [1.0, 3.0]) == Interval(2.0, None, None)
    assert student.geometric([0.0, 0.0]) == Interval(1.0, None, None)
