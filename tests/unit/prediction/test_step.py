"""The simulated step against what can be worked out by hand: where forms are closed, it has to follow them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from horovod_runner.config.strategies import STRATEGIES
from horovod_runner.prediction.draws import Draws, priors
from horovod_runner.prediction.job import (
    PATTERNS,
    Gradients,
    batches_line,
    evenly,
    expected_maximum,
    measured,
    slowest_of,
)
from horovod_runner.prediction.step import simulate

MEGABYTE = 1e6


def known(**changed: float) -> Draws:
    """Return a machine of which everything is known: one draw, one host a worker, 1 GB/s, no latency, no scatter."""
    values = {
        "start": 0.03,
        "per_image": 0.03,
        "overlap": 1.0,
        "latency_within": 0.0,
        "latency_between": 0.0,
        "bandwidth_within": 1e11,
        "bandwidth_between": 1e9,
        "congestion": 0.0,
        "coordination": 0.0,
        "scatter": 0.0,
    }
    return Draws(**{name: np.array([value]) for name, value in (values | changed).items()})


def seconds(
    gradients: Gradients,
    strategy: str,
    draws: Draws,
    workers: int,
    batch: float = 9,
    per_host: int = 1,
) -> float:
    return float(simulate(gradients, PATTERNS[strategy], draws, [workers], per_host, batch).step[0, 0])


def test_one_worker_only_computes() -> None:
    assert PATTERNS.keys() == STRATEGIES.keys(), "the model knows all strategies"
    for strategy in PATTERNS:
        assert seconds(evenly(1e9), strategy, known(scatter=0.1, coordination=1.0), 1) == pytest.approx(0.3)


def test_blocking_is_computing_and_one_allreduce_by_levels() -> None:
    """Latency by doublings there and back, and 2 (m - 1) / m of the bytes, within hosts of four and between three."""
    machine = known(latency_within=1e-4, latency_between=1e-3, bandwidth_within=1e10)
    within = 2 * 2 * 1e-4 + 2 * 3 / 4 * 60e6 / 1e10
    between = 2 * 2 * 1e-3 + 2 * 2 / 3 * 60e6 / 1e9
    got = seconds(evenly(60e6), "blocking", machine, 12, per_host=4)
    assert got == pytest.approx(0.3 + within + between)


def test_congestion_grows_with_the_hosts_beyond_two() -> None:
    for hosts, factor in ((2, 1.0), (8, 4**0.2)):
        got = seconds(evenly(60e6), "blocking", known(congestion=0.2), hosts)
        assert got == pytest.approx(0.3 + factor * 2 * (1 - 1 / hosts) * 0.06)


def test_what_computing_can_hide_is_hidden_but_for_the_last_message() -> None:
    """Ten gradients, 20 ms apart, of 10 ms each: the channel is idle before each of them."""
    got = seconds(evenly(100 * MEGABYTE, 10), "unfused", known(), 2)
    assert got == pytest.approx(0.3 + 1e-3 + 0.010)


def test_a_channel_that_is_always_busy_ends_when_all_is_sent() -> None:
    """Ten gradients of 100 ms each, the first ready 20 ms after the forward pass of 100 ms."""
    got = seconds(evenly(1000 * MEGABYTE, 10), "unfused", known(), 2)
    assert got == pytest.approx(0.100 + 0.020 + 1e-3 + 10 * 0.100)


def test_without_overlap_everything_waits_for_the_backward_pass() -> None:
    for strategy in ("unfused", "fused"):
        got = seconds(evenly(100 * MEGABYTE, 10), strategy, known(overlap=0.0), 2)
        assert got == pytest.approx(0.3 + 0.1, abs=1e-5)


def test_fusion_saves_latency_where_gradients_wait() -> None:
    """All that waits goes at once: of 100 gradients the first travels alone and the rest in as many as fit."""
    gradients = Gradients(np.full(100, MEGABYTE), np.full(100, 1.0))
    slow = known(latency_between=0.01)
    one, each = 0.02, 0.001
    assert seconds(gradients, "unfused", slow, 2) == pytest.approx(0.3 + 1e-3 + 100 * (one + each))
    assert seconds(gradients, "fused", slow, 2) == pytest.approx(0.3 + 1e-3 + 2 * one + 100 * each)


def test_lag1_waits_for_nothing_until_the_channel_is_full() -> None:
    """Two messages of 300 MB and 200 MB take 0.5 s, of which a step of 0.3 s hides its part."""
    gradients = evenly(500 * MEGABYTE, 5)
    assert seconds(evenly(100 * MEGABYTE), "lag1", known(), 2) == pytest.approx(0.3)
    assert seconds(gradients, "lag1", known(), 2) == pytest.approx(0.5)
    assert seconds(gradients, "lag1", known(overlap=0.5), 2) == pytest.approx(0.3 + 0.5 - 0.15)


def test_multistep_hides_the_gather_behind_the_next_forward_pass() -> None:
    """Three layers of 60 MB, each 33 ms forward; a gather of one takes 30 ms: only the first is waited for."""
    gradients = Gradients(np.full(3, 60 * MEGABYTE), np.array([1, 2, 3]) / 3)
    pattern = replace(PATTERNS["multistep"], fusion_bytes=0.0)
    got = float(simulate(gradients, pattern, known(), [2], 1, 9).step[0, 0])
    assert got == pytest.approx(0.030 + 0.1 + 0.2 + 1e-3 + 0.030)
    slower = float(simulate(gradients, pattern, known(bandwidth_between=2e8), [2], 1, 9).step[0, 0])
    assert slower == pytest.approx(0.45 + 0.1 / 3 + 0.2 / 3 + 1e-3 + 3 * 0.150)


def test_half_the_bytes_and_no_reduction() -> None:
    halved = replace(PATTERNS["blocking"], bytes_factor=0.5)
    assert float(simulate(evenly(60e6), halved, known(), [2], 1, 9).step[0, 0]) == pytest.approx(0.33)
    assert seconds(evenly(60e6), "none", known(coordination=1.0), 64) == pytest.approx(0.3)


def test_parts_add_up_and_coordination_grows_with_the_workers() -> None:
    machine = known(scatter=0.02, coordination=1e-3)
    parts = simulate(evenly(60e6), PATTERNS["fused"], machine, [1, 4, 64], 1, 9)
    assert parts.coordination[0] == pytest.approx([0, 0.004, 0.064])
    assert parts.stragglers[0] == pytest.approx(0.3 * 0.02 * expected_maximum([1, 4, 64]))
    assert simulate(evenly(60e6), PATTERNS["blocking"], machine, [64], 1, 9).coordination[0, 0] == 0


def test_never_faster_than_computing_nor_slower_than_doing_one_after_the_other() -> None:
    """Whatever the machine: 500 from the priors, every strategy, and times that grow with the hosts."""
    machines = priors(np.random.default_rng(1), 500)
    counts = [1, 2, 8, 16, 128, 8192]
    for pattern in PATTERNS.values():
        parts = simulate(evenly(1e8), pattern, machines, counts, 8, 0.3)
        assert (parts.communication >= -1e-12).all()
        apart = simulate(evenly(1e8), pattern, machines.with_(overlap=np.zeros(500)), counts, 8, 0.3)
        assert (parts.step <= apart.step + 1e-3 * 40).all()
        assert (np.diff(parts.step, axis=1) >= -2e-3).all()


def test_the_expected_maximum() -> None:
    drawn = np.random.default_rng(0).standard_normal((20_000, 64)).max(axis=1).mean()
    assert expected_maximum([1, 64]) == pytest.approx([0, drawn], abs=0.02)
    assert expected_maximum(2) == pytest.approx(1 / np.sqrt(np.pi), rel=0.05)
    assert slowest_of([1.0, 3.0], [1, 2]) == pytest.approx([0, (0.25 * 1 + 0.75 * 3) / 2 - 1])


def test_a_line_through_batches() -> None:
    start, slope = batches_line([8, 16], [[0.12, 0.20], [0.08, 0.16], [0.05, 0.16]])
    assert start == pytest.approx([0.04, 0, 0]) and slope == pytest.approx(
        [
            0.01,
            0.01,
            0.0093,
        ],
        rel=1e-2,
    )
    assert batches_line([8], [[0.16]])[1] == pytest.approx([0.02])


def test_gradients_of_a_profile_are_in_the_order_in_which_they_came() -> None:
    made = measured([10, 20, 30], [0.30, 0.10, 0.15])
    assert made.sizes.tolist() == [20, 30, 10] and made.ready == pytest.approx([0, 0.25, 1]) and made.total == 60
