"""Laws of speedup: known parameters come back, intervals cover the truth, and the knee is where the law says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls

from horovod_runner.statistics import laws
from horovod_runner.statistics.bootstrap import percentiles
from horovod_runner.statistics.repeats import repeats_for

UNITS = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
KNOWN = [("amdahl", [0.07]), ("gustafson", [0.12]), ("usl", [0.04, 0.0015]), ("usl", [0.04, 0.0]), ("usl", [0.0, 0.01])]


@pytest.mark.parametrize(("law", "parameters"), KNOWN)
def test_known_parameters_come_back(law: str, parameters: list[float]) -> None:
    speedups = laws.speedup(law, parameters, UNITS)
    assert speedups[0] == 1
    np.testing.assert_allclose(laws.fit(law, UNITS, speedups), parameters, atol=1e-12)
    noisy = speedups * np.exp(np.random.default_rng(1).normal(scale=0.01, size=(2000, 5)))
    fitted = laws.fit(law, UNITS, noisy)
    assert fitted.shape == (2000, len(parameters))
    np.testing.assert_allclose(np.median(fitted, axis=0), parameters, rtol=0.05, atol=1e-3)


def test_laws_by_hand() -> None:
    """A tenth serial: Amdahl on 10 makes 1 / 0.19; Gustafson 10 - 0.9; USL 10 / (1 + 0.9 + 0.9)."""
    assert laws.speedup("amdahl", [0.1], [10]) == pytest.approx(1 / 0.19)
    assert laws.speedup("gustafson", [0.1], [10]) == pytest.approx(9.1)
    assert laws.speedup("usl", [0.1, 0.01], [10]) == pytest.approx(10 / 2.8)


@given(st.lists(st.floats(0.2, 40), min_size=3, max_size=3))
def test_the_usl_is_the_non_negative_least_squares_solution(speedups: list[float]) -> None:
    """Against SciPy's active-set solver, for any speedups: above n, falling, or below one."""
    units, measured = np.array([2.0, 4.0, 8.0]), np.array(speedups)
    weight = measured / units
    columns = np.column_stack([units - 1, units * (units - 1)]) * weight[:, None]
    _, error = nnls(columns, 1 - weight)
    found = laws.fit("usl", units, measured)
    assert (found >= 0).all()
    assert np.linalg.norm(columns @ found - (1 - weight)) == pytest.approx(error, abs=1e-9)


def test_superlinear_speedups_are_fitted_by_the_ideal_line() -> None:
    for law, names in laws.PARAMETERS.items():
        np.testing.assert_array_equal(laws.fit(law, UNITS, UNITS * 1.1), np.zeros(len(names)))


@pytest.mark.parametrize(("law", "units"), [("usl", [1.0, 2.0]), ("amdahl", [1.0])])
def test_too_few_points_are_refused(law: str, units: list[float]) -> None:
    with pytest.raises(ValueError, match="numbers of workers beside the baseline"):
        laws.fit(law, units, units)


@given(st.floats(0, 0.5), st.floats(0, 0.1), st.floats(0.3, 0.95))
def test_efficiency_falls_to_the_threshold_where_it_is_said(first: float, second: float, threshold: float) -> None:
    for law, parameters in (("amdahl", [first]), ("gustafson", [first]), ("usl", [first, second])):
        n = float(laws.falls_to(law, parameters, threshold))
        assert n > 1
        if n < 1e6:
            assert laws.speedup(law, parameters, [n])[0] / n == pytest.approx(threshold, rel=1e-6)
        else:
            assert laws.speedup(law, parameters, [1e6])[0] / 1e6 >= threshold - 1e-6


@pytest.mark.parametrize(("law", "parameters"), [("amdahl", [0.0]), ("gustafson", [0.1]), ("usl", [0.0, 0.0])])
def test_some_never_fall(law: str, parameters: list[float]) -> None:
    assert laws.falls_to(law, parameters, 0.8) == np.inf


def simulated(generator: np.random.Generator, parameters: list[float], runs: int) -> dict[int, list[float]]:
    """Return the images a second of a made study under the USL, with 3 % of scatter between runs."""
    truth = laws.speedup("usl", parameters, UNITS)
    return {
        int(n): (100 * s * np.exp(generator.normal(scale=0.03, size=runs))).tolist()
        for n, s in zip(UNITS, truth, strict=True)
    }


@pytest.mark.parametrize("runs", [3, 5, 10])
def test_bootstrap_intervals_cover_the_truth(runs: int) -> None:
    """Of 200 made studies: nominally 95 %, for both parameters, the curve at 8 workers, and the knee.

    Percentiles of plainly resampled means would cover about three quarters at three runs.
    """
    truth = [0.05, 0.004]
    true_knee, true_speedup = laws.falls_to("usl", truth, 0.8), laws.speedup("usl", truth, [8.0])[0]
    generator = np.random.default_rng(11)
    covered = np.zeros(4)
    for study in range(200):
        drawn = laws.resampled_speedups(simulated(generator, truth, runs), seed=study, count=400)
        fitted = laws.fit("usl", UNITS[1:], np.column_stack(list(drawn.values())))
        made = [fitted[:, 0], fitted[:, 1], laws.speedup("usl", fitted, [8.0])[:, 0]]
        made.append(laws.falls_to("usl", fitted, 0.8))
        for place, (values, true) in enumerate(zip(made, [*truth, true_speedup, true_knee], strict=True)):
            covered[place] += not percentiles(0, values).leaves_out(true)
    assert (covered / 200 >= 0.85).all(), covered


def test_an_error_of_the_baseline_moves_all_points_alike() -> None:
    drawn = laws.resampled_speedups({1: [90.0, 100.0, 110.0], 2: [200.0] * 3, 4: [400.0] * 3})
    np.testing.assert_allclose(drawn[4], 2 * drawn[2])
    assert drawn[2].std() > 0.01


def test_the_smallest_number_of_workers_is_the_unit() -> None:
    drawn = laws.resampled_speedups({8: [300.0] * 3, 2: [100.0] * 3})
    assert set(drawn) == {8}
    np.testing.assert_allclose(drawn[8], 6.0)


def test_the_same_seed_gives_the_same_numbers() -> None:
    runs = {1: [90.0, 100.0, 110.0], 2: [180.0, 200.0, 190.0]}
    np.testing.assert_array_equal(laws.resampled_speedups(runs)[2], laws.resampled_speedups(runs)[2])
    assert (laws.resampled_speedups(runs)[2] != laws.resampled_speedups(runs, seed=1)[2]).any()


def test_repeats_by_hand() -> None:
    """Scatter of exactly 1 %: t(5) 0.01 / sqrt(6) = 1.049 %, t(6) 0.01 / sqrt(7) = 0.925 %, so seven."""
    one_percent = [100.0, 99.0, 101.0]
    assert repeats_for(one_percent) == 7
    assert repeats_for(one_percent, 0.0106) == 6
    assert repeats_for([100.0, 100.0, 100.0]) == 3
    assert repeats_for([100.0, 90.0]) is None


@given(st.lists(st.floats(50, 150), min_size=3, max_size=12), st.floats(1.1, 5))
def test_more_scatter_or_a_narrower_interval_needs_more_runs(samples: list[float], factor: float) -> None:
    needed = repeats_for(samples)
    assert needed is not None and needed >= 3
    narrower = repeats_for(samples, 0.01 / factor)
    assert narrower is not None and narrower >= needed
