"""Where a run's warm-up ends, in made runs whose warm-up is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from horovod_runner.statistics.warm_up import settles, warm_up
from tests.unit.statistics.made_seconds import correlated_seconds


def warming(generator: np.random.Generator, steps: int, slow: int) -> np.ndarray:
    """Step seconds around 0.1 with 5 % of correlated noise, the first ones up to three times as long."""
    clock = correlated_seconds(generator, steps, 0.5) * 0.5 + 0.05
    clock[:slow] *= np.linspace(3, 1.5, slow)
    return clock


@pytest.mark.parametrize("slow", [0, 3, 8, 20, 40])
def test_warm_up_is_found(slow: int) -> None:
    """All slow steps go in nearly all runs, and in most of them few others do."""
    generator = np.random.default_rng(4)
    found = np.array([warm_up(warming(generator, 200, slow)) for _ in range(100)])
    assert (found >= slow).mean() > 0.95
    assert np.median(found) <= slow + 10


def test_a_hiccup_in_the_middle_is_no_warm_up() -> None:
    clock = warming(np.random.default_rng(6), 200, 0)
    clock[80:83] = 2.0
    assert warm_up(clock) < 30


def test_a_run_that_never_settles_keeps_half_and_is_told_from_one_that_does() -> None:
    drifting = np.linspace(2.0, 1.0, 100)
    assert warm_up(drifting) == 50 and settles(drifting) is False
    generator = np.random.default_rng(4)
    for steps in (100, 200):
        assert np.mean([settles(warming(generator, steps, slow)) for slow in (0, 8, 20) for _ in range(100)]) > 0.9
    assert settles(drifting[:99]) is None


@pytest.mark.parametrize(("steps", "expected"), [(0, 0), (3, 0), (5, 0), (6, 1), (9, 1), (100, 1)])
def test_equal_steps_have_no_warm_up_but_the_first(steps: int, expected: int) -> None:
    """0.1 is not exact in binary: sums of it differ in their last digits."""
    assert warm_up([0.1] * steps) == expected


@given(arrays(float, st.integers(0, 60), elements=st.floats(1e-6, 1e6)))
def test_warm_up_is_at_least_the_first_step_and_at_most_half(clock: np.ndarray) -> None:
    found = warm_up(clock)
    assert found <= len(clock) / 2
    assert found >= (len(clock) > 5)
