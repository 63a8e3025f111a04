"""The statistics against examples worked by hand, and the confidence interval against what it promises."""

from __future__ import annotations

import math

import numpy as np
import pytest

from horovod_runner.statistics import throughput as stats
from horovod_runner.statistics.interval import Interval, ratio
from tests.unit.statistics.made_seconds import correlated_seconds


def test_throughput_by_hand() -> None:
    """Three blocks of two steps with means 1, 2 and 3 s: t(2) = 4.3027, s = 1, so 2 +- 2.4842 s; 8 samples a step."""
    interval = stats.throughput([[1.0], [1.0], [1.5], [2.5], [3.0], [3.0]], 8)
    assert interval.mean == pytest.approx(4.0)
    assert interval.ci95_low == pytest.approx(8 / (2 + 4.302653 / math.sqrt(3)), rel=1e-6)
    assert interval.ci95_high == math.inf


def test_throughput_is_total_samples_over_the_slowest_workers_total_time() -> None:
    """A mean of rates would give 75 for the first worker, and rank 0 alone would hide the second."""
    seconds = [[1.0, 1.1], [0.5, 1.9]]
    assert stats.throughput(seconds, 50) == Interval(pytest.approx(100 / 3.0), None, None)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_no_bounds_below_three_blocks(steps: int) -> None:
    interval = stats.throughput(np.ones((steps, 2)), 4)
    assert (interval.ci95_low, interval.ci95_high) == (None, None)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.7])
def test_the_interval_covers_the_truth_as_often_as_it_says(correlation: float) -> None:
    """Autocorrelated noise, 200 steps: nominally 95 %. Single steps as samples would cover below 60 % at 0.7."""
    generator = np.random.default_rng(7)
    covered = 0
    for _ in range(1000):
        interval = stats.throughput(correlated_seconds(generator, 200, correlation)[:, None], 32)
        assert interval.ci95_low is not None and interval.ci95_high is not None
        covered += interval.ci95_low <= 320 <= interval.ci95_high
    assert 0.88 < covered / 1000 < 0.99


def test_an_odd_number_of_steps_loses_none() -> None:
    seconds = np.linspace(0.1, 0.3, 103)[:, None]
    assert stats.throughput(seconds, 7).mean == pytest.approx(7 * 103 / seconds.sum())


def test_step_seconds_are_the_slowest_workers() -> None:
    seconds = np.column_stack([np.full(100, 0.5), np.arange(1.0, 101.0)])
    summary = stats.step_seconds(seconds)
    assert summary == stats.Seconds(pytest.approx(50.5), pytest.approx(95.05), 1.0, 100.0)


def test_slowest_worker_by_total_and_its_ratio() -> None:
    seconds = np.tile([1.0, 1.0, 1.5, 1.0], (9, 1))
    assert stats.slowest_worker(seconds) == stats.SlowestWorker(2, 1.5, 1.5)
    assert stats.slowest_worker(np.ones((3, 2))).rank == 0


def test_a_ratio_covers_the_truth() -> None:
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(500):
        one = stats.throughput(correlated_seconds(generator, 200, 0.3)[:, None], 16)
        two = stats.throughput(2 * correlated_seconds(generator, 200, 0.3)[:, None], 32)
        both = ratio(two, one)
        assert both.ci95_low is not None and both.ci95_high is not None
        covered += both.ci95_low <= 1.0 <= both.ci95_high
    assert 0.88 < covered / 500 < 0.99


def test_over_runs_averages_times() -> None:
    """100 and 300 images/s over equal work make 150, not 200."""
    assert stats.over_runs([100.0, 300.0]) == Interval(pytest.approx(150.0), None, None)
    interval = stats.over_runs([99.0, 100.0, 101.0, 100.0])
    assert interval.ci95_low is not None and interval.ci95_high is not None
    assert 98 < interval.ci95_low < 100 < interval.ci95_high < 102


@pytest.mark.parametrize("seconds", [[], [1.0, 2.0], [[]], [[0.0]], [[float("nan")]], [[-1.0]]])
def test_impossible_times_are_refused(seconds: list[object]) -> None:
    with pytest.raises(ValueError, match="step seconds"):
        stats.throughput(seconds, 1)


class TestLateWorker:
    def test_the_last_one_is_named_with_an_interval_over_blocks(self) -> None:
        """Rank 2 comes 40 % later than the median of the others, of which rank 0 is early."""
        noise = np.random.default_rng(1).normal(scale=0.02, size=(100, 4))
        late = stats.straggler(np.array([0.5, 1.0, 1.4, 1.0]) * (1 + noise))
        assert late is not None and late.rank == 2 and late.later.mean == pytest.approx(0.4, abs=0.02)
        assert late.later.ci95_low is not None and late.later.ci95_high is not None
        assert 0.37 < late.later.ci95_low < late.later.mean < late.later.ci95_high < 0.43

    def test_of_a_worker_alone_and_of_few_steps(self) -> None:
        assert stats.straggler([[1.0], [1.0]]) is None
        late = stats.straggler([[1.0, 2.0], [1.0, 2.0]])
        assert late == stats.Straggler(1, Interval(1.0, None, None))
