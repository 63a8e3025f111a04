"""The bootstrap and its correction for few samples against Student's interval and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from horovod_runner.statistics import bootstrap
from horovod_runner.statistics.throughput import over_runs


def test_the_expansion_by_hand() -> None:
    """At five samples t is 2.776 for 1.960, and a resample scatters by sqrt(4 / 5) of the sample: 1.584 together."""
    assert bootstrap.expansion(5) == pytest.approx(2.776 / 1.960 * math.sqrt(5 / 4), abs=1e-3)
    assert bootstrap.expansion(100_000) == pytest.approx(1, abs=1e-4)


def test_two_alike_samples_have_the_freedom_of_both() -> None:
    """Of equal size and scatter Welch's degrees of freedom are 2 (n - 1)."""
    expected = stats.t.isf(0.025, 6) / stats.norm.isf(0.025) * math.sqrt(4 / 3)
    assert bootstrap.expansion_of_two([1, 2, 3, 4], [12, 11, 14, 13]) == pytest.approx(expected)
    assert bootstrap.expansion_of_two([1, 1, 1], [2, 2, 2]) == 1


def test_one_sample_without_scatter_leaves_the_others_expansion() -> None:
    assert bootstrap.expansion_of_two([1, 2, 3, 4], [7, 7, 7, 7]) == pytest.approx(bootstrap.expansion(4))


@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_expanded_percentiles_are_so_many_sigmas_out(factor: float) -> None:
    drawn = stats.norm.isf((np.arange(100_000) + 0.5) / 100_000)
    found = bootstrap.expanded(0.0, drawn, factor)
    assert (found.ci95_low, found.ci95_high) == pytest.approx((-1.96 * factor, 1.96 * factor), abs=1e-3)


@pytest.mark.parametrize("runs", [3, 5, 20])
def test_resampled_means_are_as_wide_as_students_interval(runs: int) -> None:
    """On average over many samples; for the rate of a cell, Student's interval is the one in the tables."""
    generator = np.random.default_rng(5)
    ratios = []
    for _ in range(200):
        seconds = generator.normal(1.0, 0.02, size=runs)
        drawn = bootstrap.percentiles(1.0, bootstrap.resampled(seconds[:, None], generator)[:, 0])
        student = over_runs((1 / seconds).tolist())
        assert drawn.ci95_low and drawn.ci95_high and student.ci95_low and student.ci95_high
        ratios.append((drawn.ci95_high - drawn.ci95_low) / (1 / student.ci95_low - 1 / student.ci95_high))
    assert np.mean(ratios) == pytest.approx(1, abs=0.1)


def test_figures_of_a_run_are_drawn_together() -> None:
    runs = np.random.default_rng(2).normal(size=(6, 1)) * [1.0, -2.0]
    drawn = bootstrap.resampled(runs, np.random.default_rng(0))
    np.testing.assert_allclose(drawn[:, 1], -2 * drawn[:, 0], atol=1e-12)
