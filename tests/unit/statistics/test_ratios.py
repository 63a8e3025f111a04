"""The statistics of comparisons against examples worked by hand, and against what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from horovod_runner.statistics import ratios
from horovod_runner.statistics.interval import Interval


def test_holm_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.5 times 4, 3, 2, 1 is 0.04, 0.06, 0.06, 0.5; none may fall below the one before it."""
    assert ratios.holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert ratios.holm([0.9, 0.8]) == [1.0, 1.0]
    assert ratios.holm([]) == []


def test_rank_test_by_hand() -> None:
    """Of the 20 ways to arrange three and three values, one has all of the first below, two at most one not."""
    assert ratios.rank_test([1, 2, 3], [4, 5, 6]) == pytest.approx(1 / 20)
    assert ratios.rank_test([1, 2, 4], [3, 5, 6]) == pytest.approx(2 / 20)
    assert ratios.rank_test([4, 5, 6], [1, 2, 3]) == 1
    assert ratios.smallest_p(3, 3) == 1 / 20


def test_equal_values_show_nothing() -> None:
    assert ratios.rank_test([1, 1, 1, 1], [1, 1, 1, 1]) == 1
    assert ratios.rank_test([1, 1, 3], [3, 5, 6]) == pytest.approx(2 / 20)


def test_runs_to_reach() -> None:
    """C(2n, n): 20, 70, 252, 924. A p-value of 1/20 is not below 0.05."""
    assert [ratios.runs_to_reach(comparisons) for comparisons in (1, 3, 4, 12, 13, 46)] == [4, 4, 5, 5, 6, 6]


def test_runs_to_tell_grows_with_the_square_of_the_precision_that_is_missing() -> None:
    """0.5 is 0.25 from the margin: with 0.5 either way four times the runs are needed, with 0.125 a quarter."""
    assert ratios.runs_to_tell(Interval(0.5, 0.0, 1.0), 5, 0.25) == 20
    assert ratios.runs_to_tell(Interval(0.5, 0.375, 0.625), 8, 0.25) == 2
    assert ratios.runs_to_tell(Interval(0.75, 0.5, 1.0), 5, 0.25) is None
    assert ratios.runs_to_tell(Interval(0.5, None, None), 2, 0.25) is None


@pytest.mark.parametrize("runs", [4, 6, 10])
def test_the_interval_covers_the_true_ratio_as_often_as_it_says(runs: int) -> None:
    """Plain percentiles would cover 86 % at four runs a side."""
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(300):
        numerator, denominator = generator.normal([[0.8], [1.0]], [[0.04], [0.02]], size=(2, runs))
        interval = ratios.bootstrap_ratio(numerator, denominator, generator)
        assert interval.ci95_low is not None and interval.ci95_high is not None
        covered += interval.ci95_low <= 0.8 <= interval.ci95_high
    assert 0.91 < covered / 300 < 0.99


def test_the_interval_without_scatter_and_with_too_few() -> None:
    generator = np.random.default_rng(0)
    assert ratios.bootstrap_ratio([1, 1, 1], [2, 2, 2], generator) == Interval(0.5, 0.5, 0.5)
    assert ratios.bootstrap_ratio([0, 0, 0], [2, 2, 2], generator) == Interval(0, 0, 0)
    assert ratios.bootstrap_ratio([1, 3], [2, 2, 2], generator) == Interval(1, None, None)
    for numerator, denominator in (([1.0], [0.0]), ([np.nan], [1.0])):
        with pytest.raises(ValueError, match="finite"):
            ratios.bootstrap_ratio(numerator, denominator, generator)


def test_paired_values_are_tested_by_the_t_test_of_their_log_ratios() -> None:
    rng = np.random.default_rng(5)
    older = np.exp(rng.normal(size=7))
    newer = older * np.exp(rng.normal(-0.1, 0.05, size=7))
    logs = np.log(newer / older)
    expected = stats.ttest_1samp(logs, 0.0, alternative="less")
    assert ratios.paired_test(newer, older) == pytest.approx(expected.pvalue, rel=1e-12)
    interval = stats.ttest_1samp(logs, 0.0).confidence_interval(0.95)
    found = ratios.paired_ratio(newer, older)
    assert (found.mean, found.ci95_low, found.ci95_high) == pytest.approx(
        (np.exp(logs.mean()), np.exp(interval.low), np.exp(interval.high)), rel=1e-12
    )
    assert ratios.paired_test([1.0, 2.0], [5.0, 6.0]) == 1.0, "two pairs tell nothing"
    assert ratios.paired_test(older, older) == 0.5, "equal ones are below nothing"
    assert (ratios.paired_test(0.9 * older, older), ratios.paired_test(1.1 * older, older)) == (0.0, 1.0)
