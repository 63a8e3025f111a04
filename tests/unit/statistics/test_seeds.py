"""Numbers over seeds against SciPy and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from horovod_runner.statistics import seeds
from horovod_runner.statistics.interval import Interval


@pytest.mark.parametrize(("successes", "tried"), [(0, 5), (1, 5), (3, 5), (5, 5), (17, 40)])
def test_a_share_has_wilsons_interval(successes: int, tried: int) -> None:
    """Its bounds are the shares p from which what was seen is 1.96 of their own standard errors away."""
    found = seeds.share(successes, tried)
    normal, seen = stats.norm.ppf(0.975), successes / tried
    assert found.mean == seen and found.ci95_low is not None and found.ci95_high is not None
    for bound, edge in ((found.ci95_low, 0.0), (found.ci95_high, 1.0)):
        away = normal * np.sqrt(bound * (1 - bound) / tried)
        assert abs(seen - bound) == pytest.approx(away, abs=1e-12) or bound == seen == edge
    assert (found.ci95_low == 0) == (successes == 0) and (found.ci95_high == 1) == (successes == tried)


def test_paired_differences_have_the_interval_of_the_paired_t_test() -> None:
    """Of the seeds that both have; the scatter between seeds, which both share, does not count."""
    first = {0: 5.0, 1: 9.0, 2: 2.1, 3: 7.2, 9: 100.0}
    second = {3: 7.0, 2: 2.0, 1: 8.7, 0: 4.9, 4: -50.0}
    found = seeds.over_seeds(seeds.paired(first, second))
    theirs = stats.ttest_rel([5.0, 9.0, 2.1, 7.2], [4.9, 8.7, 2.0, 7.0]).confidence_interval(0.95)
    assert (found.ci95_low, found.ci95_high) == pytest.approx((theirs.low, theirs.high))


def test_a_slope_is_that_of_the_least_squares_line() -> None:
    x, y = [1.0, 2.0, 5.0], [[3.0, 1.0, 4.0], [0.0, 2.0, 5.0]]
    np.testing.assert_allclose(seeds.slope(x, y), [stats.linregress(x, row).slope for row in y])


@pytest.mark.parametrize("count", [6, 12])
def test_the_bootstrap_of_a_mean_is_as_wide_as_students_interval(count: int) -> None:
    """On average over many samples. (Of five and fewer the percentiles asked for lie beyond what draws can give.)"""
    generator, widths = np.random.default_rng(8), []
    for _ in range(40):
        samples = generator.normal(size=count)
        drawn = seeds.resampled(samples[None], lambda means: means[:, 0])
        plain = seeds.over_seeds(samples)
        assert drawn.ci95_low is not None and drawn.ci95_high is not None
        assert plain.ci95_low is not None and plain.ci95_high is not None
        widths.append((drawn.ci95_high - drawn.ci95_low) / (plain.ci95_high - plain.ci95_low))
    assert np.mean(widths) == pytest.approx(1, abs=0.12)


def test_a_p_value_is_that_of_the_paired_t_test() -> None:
    differences = [0.3, -0.1, 0.4, 0.2, 0.25]
    assert seeds.p_value(differences) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert seeds.p_value([0.1, 0.1, 0.1]) == 0.0 and seeds.p_value([0.0] * 3) == 1.0
    assert seeds.p_value([0.1, 0.2]) is None


def test_a_threshold_lies_between_settings_of_the_grid() -> None:
    grid = [0.0, 5.0, 10.0, 20.0]
    assert seeds.bracket(Interval(10.0, 10.0, 10.0), grid) == (5.0, 10.0)
    assert seeds.bracket(Interval(10.0, 5.0, 12.5), grid) == (0.0, 20.0), "percentiles may lie between settings"
    assert seeds.bracket(Interval(0.0, 0.0, 0.0), grid) == (None, 0.0)
    assert seeds.bracket(Interval(20.0, None, None), grid) == (10.0, 20.0), "without an interval the grid alone"


def test_slopes_between_brackets_are_the_extremes_of_least_squares_lines() -> None:
    x, brackets = [0.176, 0.352, 0.704], [(None, 0.0), (0.0, 5.0), (10.0, 20.0)]
    corners = [stats.linregress(x, [0.0, middle, last]).slope for middle in (0.0, 5.0) for last in (10.0, 20.0)]
    assert seeds.slope_between(x, brackets) == pytest.approx((min(corners), max(corners)))
