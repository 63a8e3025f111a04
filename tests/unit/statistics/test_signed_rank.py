"""Signed ranks against SciPy, tables and what infinities must not change."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from horovod_runner.statistics import signed_rank

DRAWN = np.random.default_rng(0).normal(0.1, 0.2, size=(20, 10))


def test_p_values_are_scipys() -> None:
    for differences in DRAWN:
        ours = signed_rank.equivalence(differences, 0.25).p
        above = stats.wilcoxon(differences + 0.25, alternative="greater", method="exact").pvalue
        below = stats.wilcoxon(differences - 0.25, alternative="less", method="exact").pvalue
        assert ours == pytest.approx(max(above, below), rel=1e-12)


def test_the_interval_holds_what_scipys_test_does_not_reject() -> None:
    """At ten pairs a sum of 8 is critical (Wilcoxon's table): the bounds are the ninth means from both ends."""
    for differences in DRAWN:
        found = signed_rank.median(differences)
        means = np.sort([(a + b) / 2 for i, a in enumerate(differences) for b in differences[i:]])
        assert (found.ci95_low, found.ci95_high) == (means[8], means[-9])
        assert found.mean == pytest.approx(np.median(means))
        for bound, inwards in ((found.ci95_low, 1e-9), (found.ci95_high, -1e-9)):
            assert bound is not None
            inside = stats.wilcoxon(differences - bound - inwards, method="exact").pvalue
            outside = stats.wilcoxon(differences - bound + inwards, method="exact").pvalue
            assert inside > 0.05 >= outside


def test_ninety_five_in_a_hundred_intervals_hold_the_median() -> None:
    generator = np.random.default_rng(1)
    held = [signed_rank.median(generator.standard_cauchy(10)).leaves_out(0) for _ in range(2000)]
    assert 0.035 < np.mean(held) < 0.062  # exactly 0.0488, and a standard error of 0.005


def test_how_long_a_miss_would_have_taken_changes_nothing() -> None:
    reached = [0.02, -0.05, 0.04, 0.01, -0.03, 0.06, 0.0, -0.01, 0.05]
    missed = signed_rank.median([*reached, math.inf])
    late = signed_rank.median([*reached, 1e9])
    assert (missed.mean, missed.ci95_low) == (late.mean, late.ci95_low) and missed.ci95_high == math.inf
    assert missed.mean > signed_rank.median(reached).mean
    none = signed_rank.median([math.inf] * 10)
    assert none.mean == none.ci95_low == math.inf
    assert signed_rank.median([math.inf, -math.inf] * 5).mean == 0.0


def test_few_pairs_have_no_interval_and_five_can_be_equivalent() -> None:
    assert signed_rank.median([0.1, 0.2, 0.3, 0.4, 0.5]).ci95_low is None
    assert signed_rank.median([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]).ci95_low == 0.1
    assert signed_rank.equivalence([0.0] * 5, 0.1).p == pytest.approx(1 / 32)
    assert not signed_rank.equivalence([0.0] * 4, 0.1).shown
    assert not signed_rank.equivalence([0.1] * 10, 0.1).shown
    assert not signed_rank.equivalence([0.0] * 8 + [math.inf] * 3, 0.0001).shown
    with pytest.raises(ValueError, match="needs a difference"):
        signed_rank.equivalence([], 0.1)
