"""LARS and LAMB: small sums by hand, what their ratios leave out, and what they do with zeros."""

from __future__ import annotations

import numpy as np
import pytest

from horovod_runner.config.settings import OptimizerConfig
from horovod_runner.optimizers import rules
from tests.parity.optimizer_runs import DECAYED, STEPS, assert_close, draw, frameworks, one_step, rate_of


def test_two_steps_of_lars_by_hand() -> None:
    """|w| = 5, |g| = 10 and decay 0.5: ratio 0.1 * 5 / (10 + 0.5 * 5) = 0.04, so v = 0.04 * (7.5, 10) = (0.3, 0.4)."""
    config = OptimizerConfig(name="lars", momentum=0.5, weight_decay=0.5, trust_coefficient=0.1)
    weights = {"kernel": np.array([3.0, 4.0]), "bias": np.array([3.0, 4.0])}
    gradients = {"kernel": np.array([6.0, 8.0]), "bias": np.array([6.0, 8.0])}
    after, state = rules.apply(config, weights, gradients, rules.initial_state(config, weights), {"kernel"}, 1.0)
    assert_close(after, {"kernel": np.array([2.7, 3.6]), "bias": np.array([-3.0, -4.0])}, 1e-15)
    # The weights are 0.9 of what they were: ratio 0.1 * 4.5 / (10 + 2.25), g + decay w = (7.35, 9.8), lr = 2.
    after, _ = rules.apply(config, after, gradients, state, {"kernel"}, 2.0)
    ratio = 0.45 / 12.25
    expected = [2.7 - 2 * (0.15 + ratio * 7.35), 3.6 - 2 * (0.2 + ratio * 9.8)]
    assert_close(after, {"kernel": np.array(expected), "bias": np.array([-21.0, -28.0])}, 1e-15)


def test_one_step_of_lamb_by_hand() -> None:
    """In the first step r = g / (|g| + epsilon), here (1/2, 1/2); with decay 0.5, u = (2, 2.5), of norm sqrt(10.25)."""
    config = OptimizerConfig(name="lamb", weight_decay=0.5, epsilon=2.0)
    weights = {"kernel": np.array([3.0, 4.0]), "bias": np.array([3.0, 4.0])}
    gradients = {"kernel": np.array([2.0, 2.0]), "bias": np.array([2.0, -2.0])}
    change = one_step(config, weights, gradients, 0.1)
    expected = 0.1 * 5 / np.sqrt(10.25) * np.array([2.0, 2.5])
    assert_close(change, {"kernel": expected, "bias": np.array([0.05, -0.05])}, 1e-14)


@pytest.mark.parametrize("name", ["lars", "lamb"])
def test_an_array_or_a_gradient_of_zeros_has_ratio_1(name: str) -> None:
    """Without the exception the first would stay zero, and lars would divide by zero in the second."""
    config = OptimizerConfig(name=name, momentum=0.0, epsilon=1e-12)
    zeros, ones = np.zeros(4), np.ones(4)
    assert_close(one_step(config, {"kernel": zeros}, {"kernel": ones}, 0.1), {"kernel": 0.1 * ones}, 1e-11)
    assert not one_step(config, {"kernel": ones}, {"kernel": zeros}, 0.1)["kernel"].any()


@frameworks
@pytest.mark.parametrize("name", ["lars", "lamb"])
def test_zeros_do_the_same_in_both_frameworks(framework, name: str) -> None:
    """Weights of zero, then gradients of zero; every array is a kernel of its own, and all of them are adapted."""
    config = OptimizerConfig(name=name, weight_decay=0.1)
    weights = {key: 0 * w for key, w in draw(0).items()}
    run = framework(config, weights)
    state = rules.initial_state(config, weights)
    for gradients in (draw(1), {key: 0 * g for key, g in draw(2).items()}, draw(3)):
        run.step(gradients, 0.1)
        weights, state = rules.apply(config, weights, gradients, state, DECAYED, 0.1)
    assert_close(run.arrays(), {**weights, **state}, 1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_the_first_change_by_lamb_is_in_proportion_to_the_weights(decay: float) -> None:
    """Its norm is lr |w|, whatever the gradient and the decay; that of an array that is not adapted is not."""
    config = OptimizerConfig(name="lamb", weight_decay=decay)
    for scale in (1e-3, 1.0, 1e3):
        change = one_step(config, draw(0), {key: scale * g for key, g in draw(1).items()}, 0.01)
        assert np.isclose(np.linalg.norm(change["kernel"]), 0.01 * np.linalg.norm(draw(0)["kernel"]), rtol=1e-12)
        assert not np.isclose(np.linalg.norm(change["bias"]), 0.01 * np.linalg.norm(draw(0)["bias"]), rtol=0.1)


@pytest.mark.parametrize("name", ["lars", "lamb"])
def test_an_adapted_array_does_not_feel_the_scale_of_its_gradients(name: str) -> None:
    """Without decay, over 20 steps: lars divides by |g|, adam by sqrt(v), to which epsilon adds (here 1e-100)."""
    config = OptimizerConfig(name=name, trust_coefficient=0.02, epsilon=1e-100)
    runs = []
    for scale in (1.0, 1e4):
        weights = draw(0)
        state = rules.initial_state(config, weights)
        for step in range(STEPS):
            gradients = {key: scale * g for key, g in draw(step + 1).items()}
            weights, state = rules.apply(config, weights, gradients, state, DECAYED, rate_of(step))
        runs.append(weights)
    plain, scaled = ({key: run[key] for key in DECAYED} for run in runs)
    assert_close(scaled, plain, 1e-12)
    assert name == "lamb" or np.abs(runs[1]["bias"]).max() > 10 * np.abs(runs[0]["bias"]).max()


@pytest.mark.parametrize("name", ["lars", "lamb"])
def test_an_adapted_array_changes_in_proportion_to_itself(name: str) -> None:
    """Without decay, weights twice as large are changed twice as much: the relative change is the learning rate's."""
    config = OptimizerConfig(name=name)
    plain = one_step(config, draw(0), draw(1), 0.1)
    double = one_step(config, {key: 2 * w for key, w in draw(0).items()}, draw(1), 0.1)
    assert_close({"kernel": double["kernel"]}, {"kernel": 2 * plain["kernel"]}, 1e-12)
    assert np.abs(double["bias"] - plain["bias"]).max() < 1e-12
