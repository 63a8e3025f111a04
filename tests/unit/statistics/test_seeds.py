"""Numbers over seeds against SciPy and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from horovod_runner.statistics import seeds


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
