"""The equivalence test against SciPy's two one-sided t-tests."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from horovod_runner.statistics.equivalence import Equivalence, equivalence


@pytest.mark.parametrize("samples", [3, 5, 12])
@pytest.mark.parametrize("mean", [-0.03, 0.0, 0.004])
def test_it_is_two_one_sided_tests(samples: int, mean: float) -> None:
    """The larger p-value of the two, and the 90 % interval of the mean; within the margin where p is below 0.05."""
    differences = np.random.default_rng(samples).normal(mean, 0.01, samples)
    found = equivalence(differences, 0.02)
    below = stats.ttest_1samp(differences, 0.02, alternative="less")
    above = stats.ttest_1samp(differences, -0.02, alternative="greater")
    assert found.p == pytest.approx(max(below.pvalue, above.pvalue), rel=1e-9)
    interval = stats.ttest_1samp(differences, 0.0).confidence_interval(0.90)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.shown == (found.low > -0.02 and found.high < 0.02)


def test_without_scatter_the_mean_decides() -> None:
    assert equivalence([0.25] * 3, 0.5) == Equivalence(0.0, 0.25, 0.25, 0.25)
    assert equivalence([0.75] * 3, 0.5).p == 1.0 and not equivalence([0.75] * 3, 0.5).shown


def test_two_differences_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 differences, not 2"):
        equivalence([0.1, 0.2], 1.0)
