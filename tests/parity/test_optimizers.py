"""The optimizers: the definition against PyTorch's own classes, both implementations against the definition.

Every step has a learning rate of its own, since rules that agree at a constant rate part when it changes. Tolerance in
float64 over 20 steps, 1e-12: one rounding of 1e-16 for each of some ten operations a step, and no feedback.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest
import tensorflow as tf
import torch

from benchmarks.unet import spec as unet
from horovod_runner.config import OptimizerConfig
from horovod_runner.optimizers import rules, tf_optimizers, torch_optimizers

STEPS = 20
SHAPES = {"kernel": (3, 4), "norm": (4,), "bias": (5,)}
CONFIGS = {
    "sgd": OptimizerConfig(name="sgd"),
    "plain sgd": OptimizerConfig(name="sgd", momentum=0.0),
    "sgd with decay": OptimizerConfig(name="sgd", momentum=0.8, weight_decay=0.1),
    "nesterov": OptimizerConfig(name="sgd", nesterov=True),
    "nesterov with decay": OptimizerConfig(name="sgd", nesterov=True, weight_decay=0.1),
    "adam": OptimizerConfig(name="adam"),
    "adam with decay": OptimizerConfig(name="adam", beta1=0.8, beta2=0.95, epsilon=1e-2, weight_decay=0.1),
}
DECAYED = frozenset({"kernel"})
configs = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)

Arrays = dict[str, np.ndarray]


def _draw(seed: int, dtype: str = "float64") -> Arrays:
    generator = np.random.default_rng(seed)
    return {name: generator.standard_normal(shape).astype(dtype) for name, shape in SHAPES.items()}


def _rate(step: int) -> float:
    """Return a warmup's learning rate, then a drop."""
    return 0.1 * (step + 1) / 10 if step < 10 else 0.01


class _Torch:
    def __init__(self, config: OptimizerConfig, weights: Arrays) -> None:
        self.weights = {name: torch.nn.Parameter(torch.from_numpy(w.copy())) for name, w in weights.items()}
        self.optimizer = torch_optimizers.Optimizer(config, self.weights, DECAYED)

    def step(self, gradients: Arrays, lr: float) -> None:
        for name, parameter in self.weights.items():
            parameter.grad = torch.from_numpy(gradients[name].copy())
        self.optimizer.step(lr)

    def arrays(self) -> Arrays:
        everything = {**self.weights, **self.optimizer.state()}
        return {name: tensor.detach().numpy() for name, tensor in everything.items()}


class _TensorFlow:
    def __init__(self, config: OptimizerConfig, weights: Arrays) -> None:
        self.weights = {name: tf.Variable(w) for name, w in weights.items()}
        self.optimizer = tf_optimizers.Optimizer(config, self.weights, DECAYED)
        self._apply = tf.function(self.optimizer.apply)

    def step(self, gradients: Arrays, lr: float) -> None:
        self._apply([tf.constant(gradients[name]) for name in self.weights], tf.constant(lr, tf.float64))

    def arrays(self) -> Arrays:
        return {name: v.numpy() for name, v in {**self.weights, **self.optimizer.variables()}.items()}


FRAMEWORKS = {"torch": _Torch, "tensorflow": _TensorFlow}
frameworks = pytest.mark.parametrize("framework", FRAMEWORKS.values(), ids=FRAMEWORKS)


def _by_rules(config: OptimizerConfig, weights: Arrays, steps: int) -> Arrays:
    state = rules.initial_state(config, weights)
    for step in range(steps):
        weights, state = rules.apply(config, weights, _draw(step + 1), state, DECAYED, _rate(step))
    return {**weights, **state}


def _close(ours: Arrays, expected: Arrays, tolerance: float) -> None:
    assert ours.keys() == expected.keys()
    for name, array in expected.items():
        assert ours[name].shape == array.shape
        assert np.abs(ours[name] - array).max() <= tolerance * np.abs(array).max(), name


@frameworks
@configs
def test_twenty_steps_follow_the_definition(framework, config: OptimizerConfig) -> None:
    """Weights and every slot."""
    run = framework(config, _draw(0))
    for step in range(STEPS):
        run.step(_draw(step + 1), _rate(step))
    _close(run.arrays(), _by_rules(config, _draw(0), STEPS), 1e-12)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "plain sgd"])
def test_the_definition_is_pytorchs(name: str) -> None:
    config = CONFIGS[name]
    weights = {key: torch.nn.Parameter(torch.from_numpy(w)) for key, w in _draw(0).items()}
    groups = [
        {"params": [p for key, p in weights.items() if (key in DECAYED) == decayed], "weight_decay": decay}
        for decayed, decay in ((True, config.weight_decay), (False, 0.0))
    ]
    if config.name == "sgd":
        theirs = torch.optim.SGD(groups, lr=1.0, momentum=config.momentum, nesterov=config.nesterov)
    else:
        theirs = torch.optim.Adam(groups, lr=1.0, betas=(config.beta1, config.beta2), eps=config.epsilon)
    for step in range(STEPS):
        for group in theirs.param_groups:
            group["lr"] = _rate(step)
        for key, gradient in _draw(step + 1).items():
            weights[key].grad = torch.from_numpy(gradient)
        theirs.step()
    expected = _by_rules(config, _draw(0), STEPS)
    _close({key: p.detach().numpy() for key, p in weights.items()}, {key: expected[key] for key in weights}, 1e-12)


@pytest.mark.parametrize("name", ["sgd with decay", "nesterov", "adam"])
def test_frameworks_agree_in_float32(name: str) -> None:
    """20 steps of some ten roundings of 6e-8; TensorFlow's fused Adam, by comparison, is off by 6e-6 a step."""
    pair = [make(CONFIGS[name], _draw(0, "float32")) for make in FRAMEWORKS.values()]
    for step in range(STEPS):
        for run in pair:
            run.step(_draw(step + 1, "float32"), _rate(step))
    _close(pair[0].arrays(), pair[1].arrays(), 2e-6)


@frameworks
@configs
def test_state_has_its_names(framework, config: OptimizerConfig) -> None:
    run = framework(config, _draw(0))
    names = [name for name in run.arrays() if name not in SHAPES]
    assert names == rules.state_names(config, SHAPES)


@configs
def test_a_state_continues_in_the_other_framework(config: OptimizerConfig) -> None:
    """Ten steps in one, loaded into the other, ten more there: the trajectory of one run, both ways."""
    for first, second in (("torch", "tensorflow"), ("tensorflow", "torch")):
        begun = FRAMEWORKS[first](config, _draw(0))
        for step in range(10):
            begun.step(_draw(step + 1), _rate(step))
        arrays = begun.arrays()
        resumed = FRAMEWORKS[second](config, {name: arrays[name] for name in SHAPES})
        _load(resumed, {name: array for name, array in arrays.items() if name not in SHAPES})
        for step in range(10, STEPS):
            resumed.step(_draw(step + 1), _rate(step))
        _close(resumed.arrays(), _by_rules(config, _draw(0), STEPS), 1e-12)


def _load(run: _Torch | _TensorFlow, state: Arrays) -> None:
    if isinstance(run, _Torch):
        run.optimizer.load_state({name: torch.from_numpy(np.array(array)) for name, array in state.items()})
    else:
        for name, variable in run.optimizer.variables().items():
            variable.assign(state[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("momentum/bias"), "1 missing .'momentum/bias'., 0 unknown"),
        (lambda s: s.update({"exp_avg/bias": torch.zeros(5)}), "0 missing .., 1 unknown .'exp_avg/bias'."),
        (
            lambda s: s.update({"momentum/bias": torch.zeros(6)}),
            r"momentum/bias has shape \(6,\), but it must be \(5,\)",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_named_and_nothing_is_loaded(change, message: str) -> None:
    run = _Torch(CONFIGS["sgd"], _draw(0))
    state = {name: torch.ones_like(value) for name, value in run.optimizer.state().items()}
    change(state)
    with pytest.raises(ValueError, match=message):
        run.optimizer.load_state(state)
    assert not any(value.any() for value in run.optimizer.state().values())


def test_a_parameter_without_gradient_is_named() -> None:
    run = _Torch(CONFIGS["sgd"], _draw(0))
    with pytest.raises(RuntimeError, match="kernel has no gradient"):
        run.optimizer.step(0.1)


def test_gradients_that_do_not_match_the_variables_are_refused() -> None:
    run = _TensorFlow(CONFIGS["sgd"], _draw(0))
    with pytest.raises(ValueError, match="zip"):
        run.optimizer.apply([tf.zeros((3, 4))], tf.constant(0.1))


def test_decay_spares_biases_and_normalisation_unless_told() -> None:
    arrays = unet.architecture(width=8, channels=1, classes=2, image_size=16).arrays
    kernels = {a.name for a in arrays if a.kind.endswith("kernel")}
    everything = {a.name for a in arrays if not a.name.endswith(("running_mean", "running_var"))}
    assert rules.decayed_names(arrays, OptimizerConfig(weight_decay=0.0)) == set()
    assert rules.decayed_names(arrays, OptimizerConfig(weight_decay=0.1)) == kernels
    assert rules.decayed_names(arrays, OptimizerConfig(weight_decay=0.1, decay_norm=True)) == everything


def test_every_rule_has_both_implementations() -> None:
    assert rules.RULES.keys() == torch_optimizers._UPDATES.keys() == tf_optimizers._UPDATES.keys()
