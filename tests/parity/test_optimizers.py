"""The optimizers: the definition against PyTorch's own classes and small sums by hand, both implementations against it.

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
SHAPES = {"kernel": (3, 4), "norm": (4,), "bias": (5,), "convolution": (2, 3, 2, 2)}
CONFIGS = {
    "sgd": OptimizerConfig(name="sgd"),
    "plain sgd": OptimizerConfig(name="sgd", momentum=0.0),
    "sgd with decay": OptimizerConfig(name="sgd", momentum=0.8, weight_decay=0.1),
    "nesterov": OptimizerConfig(name="sgd", nesterov=True),
    "nesterov with decay": OptimizerConfig(name="sgd", nesterov=True, weight_decay=0.1),
    "adam": OptimizerConfig(name="adam"),
    "adam with decay": OptimizerConfig(name="adam", beta1=0.8, beta2=0.95, epsilon=1e-2, weight_decay=0.1),
    "absorbed": OptimizerConfig(name="sgd", velocity="absorbed", weight_decay=0.1),
    "absorbed, uncorrected": OptimizerConfig(name="sgd", velocity="absorbed", momentum_correction=False),
    "absorbed nesterov": OptimizerConfig(name="sgd", nesterov=True, velocity="absorbed"),
    "absorbed nesterov, uncorrected": OptimizerConfig(
        name="sgd", nesterov=True, velocity="absorbed", momentum_correction=False
    ),
    "adamw": OptimizerConfig(name="adamw", weight_decay=0.1),
    "adamw without decay": OptimizerConfig(name="adamw"),
    "lars": OptimizerConfig(name="lars", trust_coefficient=0.02, weight_decay=0.1),
    "lars without decay": OptimizerConfig(name="lars", momentum=0.8, trust_coefficient=0.02),
    "lamb": OptimizerConfig(name="lamb", weight_decay=0.1),
    "lamb without decay": OptimizerConfig(name="lamb", beta1=0.8, beta2=0.95, epsilon=1e-2),
    # The 45 values of a step's gradients have a norm of 5.4 to 7.9, so that 6.5 clips some steps and spares others.
    "sgd, clipped": OptimizerConfig(name="sgd", weight_decay=0.1, clip_norm=6.5),
    "adam, clipped": OptimizerConfig(name="adam", clip_norm=6.5),
    "lars, clipped": OptimizerConfig(name="lars", trust_coefficient=0.02, weight_decay=0.1, clip_norm=6.5),
}
DECAYED = frozenset({"kernel", "convolution"})
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


def _pytorchs_own(config: OptimizerConfig, weights: dict[str, torch.nn.Parameter]) -> torch.optim.Optimizer:
    groups = [
        {"params": [p for key, p in weights.items() if (key in DECAYED) == decayed], "weight_decay": decay}
        for decayed, decay in ((True, config.weight_decay), (False, 0.0))
    ]
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=1.0, momentum=config.momentum, nesterov=config.nesterov)
    made = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.name]
    return made(groups, lr=1.0, betas=(config.beta1, config.beta2), eps=config.epsilon)


PYTORCH_HAS = [
    name
    for name, config in CONFIGS.items()
    if config.name in ("sgd", "adam", "adamw") and name != "plain sgd" and "uncorrected" not in name
]


@pytest.mark.parametrize("name", PYTORCH_HAS)
def test_the_definition_is_pytorchs(name: str) -> None:
    """Corrected absorbed velocities too: their weights are those of velocities in units of the gradient."""
    config = CONFIGS[name]
    weights = {key: torch.nn.Parameter(torch.from_numpy(w)) for key, w in _draw(0).items()}
    theirs = _pytorchs_own(config, weights)
    for step in range(STEPS):
        for group in theirs.param_groups:
            group["lr"] = _rate(step)
        for key, gradient in _draw(step + 1).items():
            weights[key].grad = torch.from_numpy(gradient)
        if config.clip_norm is not None:
            _clip_as_pytorch_does(weights, config.clip_norm)
        theirs.step()
    expected = _by_rules(config, _draw(0), STEPS)
    _close({key: p.detach().numpy() for key, p in weights.items()}, {key: expected[key] for key in weights}, 1e-12)


def _clip_as_pytorch_does(weights: dict[str, torch.nn.Parameter], largest: float) -> None:
    """Clip by clip_grad_norm_, with the 1e-6 that it adds to the norm taken out again."""
    norm = float(torch.nn.utils.get_total_norm(p.grad for p in weights.values()))
    torch.nn.utils.clip_grad_norm_(weights.values(), largest * (1 + 1e-6 / norm))


@pytest.mark.parametrize(
    "name", ["sgd with decay", "nesterov", "absorbed", "adam", "adamw", "lars", "lamb", "sgd, clipped"]
)
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


def _one_step(config: OptimizerConfig, weights: Arrays, gradients: Arrays, lr: float) -> Arrays:
    """Return by how much every array is changed in the first step; `kernel` alone is decayed."""
    after, _ = rules.apply(config, weights, gradients, rules.initial_state(config, weights), {"kernel"}, lr)
    return {name: weights[name] - after[name] for name in weights}


def test_two_steps_of_lars_by_hand() -> None:
    """|w| = 5, |g| = 10 and decay 0.5: ratio 0.1 * 5 / (10 + 0.5 * 5) = 0.04, so v = 0.04 * (7.5, 10) = (0.3, 0.4)."""
    config = OptimizerConfig(name="lars", momentum=0.5, weight_decay=0.5, trust_coefficient=0.1)
    weights = {"kernel": np.array([3.0, 4.0]), "bias": np.array([3.0, 4.0])}
    gradients = {"kernel": np.array([6.0, 8.0]), "bias": np.array([6.0, 8.0])}
    after, state = rules.apply(config, weights, gradients, rules.initial_state(config, weights), {"kernel"}, 1.0)
    _close(after, {"kernel": np.array([2.7, 3.6]), "bias": np.array([-3.0, -4.0])}, 1e-15)
    # The weights are 0.9 of what they were: ratio 0.1 * 4.5 / (10 + 2.25), g + decay w = (7.35, 9.8), lr = 2.
    after, _ = rules.apply(config, after, gradients, state, {"kernel"}, 2.0)
    ratio = 0.45 / 12.25
    expected = [2.7 - 2 * (0.15 + ratio * 7.35), 3.6 - 2 * (0.2 + ratio * 9.8)]
    _close(after, {"kernel": np.array(expected), "bias": np.array([-21.0, -28.0])}, 1e-15)


def test_one_step_of_lamb_by_hand() -> None:
    """In the first step r = g / (|g| + epsilon), here (1/2, 1/2); with decay 0.5, u = (2, 2.5), of norm sqrt(10.25)."""
    config = OptimizerConfig(name="lamb", weight_decay=0.5, epsilon=2.0)
    weights = {"kernel": np.array([3.0, 4.0]), "bias": np.array([3.0, 4.0])}
    gradients = {"kernel": np.array([2.0, 2.0]), "bias": np.array([2.0, -2.0])}
    change = _one_step(config, weights, gradients, 0.1)
    expected = 0.1 * 5 / np.sqrt(10.25) * np.array([2.0, 2.5])
    _close(change, {"kernel": expected, "bias": np.array([0.05, -0.05])}, 1e-14)


@pytest.mark.parametrize("name", ["lars", "lamb"])
def test_an_array_or_a_gradient_of_zeros_has_ratio_1(name: str) -> None:
    """Without the exception the first would stay zero, and lars would divide by zero in the second."""
    config = OptimizerConfig(name=name, momentum=0.0, epsilon=1e-12)
    zeros, ones = np.zeros(4), np.ones(4)
    _close(_one_step(config, {"kernel": zeros}, {"kernel": ones}, 0.1), {"kernel": 0.1 * ones}, 1e-11)
    assert not _one_step(config, {"kernel": ones}, {"kernel": zeros}, 0.1)["kernel"].any()


@frameworks
@pytest.mark.parametrize("name", ["lars", "lamb"])
def test_zeros_do_the_same_in_both_frameworks(framework, name: str) -> None:
    """Weights of zero, then gradients of zero; every array is a kernel of its own, and all of them are adapted."""
    config = OptimizerConfig(name=name, weight_decay=0.1)
    weights = {key: 0 * w for key, w in _draw(0).items()}
    run = framework(config, weights)
    state = rules.initial_state(config, weights)
    for gradients in (_draw(1), {key: 0 * g for key, g in _draw(2).items()}, _draw(3)):
        run.step(gradients, 0.1)
        weights, state = rules.apply(config, weights, gradients, state, DECAYED, 0.1)
    _close(run.arrays(), {**weights, **state}, 1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_the_first_change_by_lamb_is_in_proportion_to_the_weights(decay: float) -> None:
    """Its norm is lr |w|, whatever the gradient and the decay; that of an array that is not adapted is not."""
    config = OptimizerConfig(name="lamb", weight_decay=decay)
    for scale in (1e-3, 1.0, 1e3):
        change = _one_step(config, _draw(0), {key: scale * g for key, g in _draw(1).items()}, 0.01)
        assert np.isclose(np.linalg.norm(change["kernel"]), 0.01 * np.linalg.norm(_draw(0)["kernel"]), rtol=1e-12)
        assert not np.isclose(np.linalg.norm(change["bias"]), 0.01 * np.linalg.norm(_draw(0)["bias"]), rtol=0.1)


@pytest.mark.parametrize("name", ["lars", "lamb"])
def test_an_adapted_array_does_not_feel_the_scale_of_its_gradients(name: str) -> None:
    """Without decay, over 20 steps: lars divides by |g|, adam by sqrt(v), to which epsilon adds (here 1e-100)."""
    config = OptimizerConfig(name=name, trust_coefficient=0.02, epsilon=1e-100)
    runs = []
    for scale in (1.0, 1e4):
        weights = _draw(0)
        state = rules.initial_state(config, weights)
        for step in range(STEPS):
            gradients = {key: scale * g for key, g in _draw(step + 1).items()}
            weights, state = rules.apply(config, weights, gradients, state, DECAYED, _rate(step))
        runs.append(weights)
    plain, scaled = ({key: run[key] for key in DECAYED} for run in runs)
    _close(scaled, plain, 1e-12)
    assert name == "lamb" or np.abs(runs[1]["bias"]).max() > 10 * np.abs(runs[0]["bias"]).max()


@pytest.mark.parametrize("name", ["lars", "lamb"])
def test_an_adapted_array_changes_in_proportion_to_itself(name: str) -> None:
    """Without decay, weights twice as large are changed twice as much: the relative change is the learning rate's."""
    config = OptimizerConfig(name=name)
    plain = _one_step(config, _draw(0), _draw(1), 0.1)
    double = _one_step(config, {key: 2 * w for key, w in _draw(0).items()}, _draw(1), 0.1)
    _close({"kernel": double["kernel"]}, {"kernel": 2 * plain["kernel"]}, 1e-12)
    assert np.abs(double["bias"] - plain["bias"]).max() < 1e-12


def _final(config: OptimizerConfig) -> Arrays:
    return {key: array for key, array in _by_rules(config, _draw(0), STEPS).items() if key in SHAPES}


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_corrected_absorbed_velocity_takes_the_same_path_and_an_uncorrected_one_parts(nesterov: bool) -> None:
    """Goyal et al. 2017, remark 2; the rate changes in every step of the warmup."""
    settings = {"nesterov": nesterov, "weight_decay": 0.1}
    plain = _final(OptimizerConfig(**settings))
    _close(_final(OptimizerConfig(velocity="absorbed", **settings)), plain, 1e-12)
    parted = _final(OptimizerConfig(velocity="absorbed", momentum_correction=False, **settings))
    assert np.abs(parted["kernel"] - plain["kernel"]).max() > 0.01


def test_an_uncorrected_absorbed_velocity_is_the_same_at_a_constant_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}._rate", lambda step: 0.05)
    _close(_final(OptimizerConfig(velocity="absorbed", momentum_correction=False)), _final(OptimizerConfig()), 1e-12)


def test_an_absorbed_velocity_is_the_rate_times_the_other() -> None:
    plain = _by_rules(CONFIGS["sgd with decay"], _draw(0), STEPS)
    absorbed = _by_rules(CONFIGS["sgd with decay"].model_copy(update={"velocity": "absorbed"}), _draw(0), STEPS)
    assert absorbed["rate"] == _rate(STEPS - 1) and absorbed["rate"].dtype == np.float64
    _close(
        {key: absorbed[f"momentum/{key}"] for key in SHAPES},
        {key: _rate(STEPS - 1) * plain[f"momentum/{key}"] for key in SHAPES},
        1e-12,
    )


@frameworks
def test_a_gradient_that_is_short_enough_is_not_clipped_and_a_longer_one_gets_the_norm(framework) -> None:
    """Plain SGD at rate 1 shows the gradient. Of all arrays together: each alone is shorter than their norm."""
    norm = float(np.sqrt(sum((g**2).sum() for g in _draw(1).values())))
    for largest, scale in ((1.001 * norm, 1.0), (0.999 * norm, 0.999), (0.1 * norm, 0.1)):
        run = framework(OptimizerConfig(momentum=0.0, clip_norm=largest), _draw(0))
        run.step(_draw(1), 1.0)
        arrays = run.arrays()
        seen = {key: w - arrays[key] for key, w in _draw(0).items()}
        _close(seen, {key: scale * g for key, g in _draw(1).items()}, 1e-12)


@frameworks
def test_a_gradient_of_zeros_is_not_clipped_to_something_else(framework) -> None:
    run = framework(OptimizerConfig(momentum=0.0, clip_norm=1.0), _draw(0))
    run.step({key: 0 * g for key, g in _draw(1).items()}, 1.0)
    _close({key: run.arrays()[key] for key in SHAPES}, _draw(0), 0.0)


def test_clipping_comes_before_decay() -> None:
    """Decay adds to the gradient what it adds without clipping."""
    zeros = {key: 0 * g for key, g in _draw(1).items()}
    change = _one_step(OptimizerConfig(momentum=0.0, weight_decay=0.5, clip_norm=1e-3), _draw(0), zeros, 1.0)
    _close({"kernel": change["kernel"]}, {"kernel": 0.5 * _draw(0)["kernel"]}, 1e-15)


@pytest.mark.parametrize("name", ["sgd", "adam", "lamb"])
def test_the_order_of_a_gradient_in_memory_does_not_matter(name: str) -> None:
    """A convolution's weights lie channels last, and a gradient that does not must not be taken for one that does."""
    config = OptimizerConfig(name=name, weight_decay=0.1)
    ends = []
    for layout in (torch.channels_last, torch.contiguous_format):
        weight = torch.from_numpy(_draw(0)["convolution"]).contiguous(memory_format=torch.channels_last)
        parameter = torch.nn.Parameter(weight)
        optimizer = torch_optimizers.Optimizer(config, {"convolution": parameter}, DECAYED)
        for step in range(3):
            parameter.grad = torch.from_numpy(_draw(step + 1)["convolution"]).contiguous(memory_format=layout)
            optimizer.step(0.1)
        ends.append({"convolution": parameter.detach().numpy()})
    _close(ends[0], ends[1], 1e-15)


def test_the_norm_of_a_large_array_is_as_good_in_float32() -> None:
    """Two million values, as ResNet-50's largest convolutions have; added up one after the other they lose 4e-5."""
    array = np.random.default_rng(0).standard_normal((512, 512, 3, 3)).astype("float32")
    laid = torch.from_numpy(array).contiguous(memory_format=torch.channels_last)
    norm = np.linalg.norm(array.astype("float64"))
    assert abs(float(torch_optimizers._norms([laid])[0]) / norm - 1) < 1e-6
    assert abs(float(tf_optimizers._norm(tf.constant(array))) / norm - 1) < 1e-6


@pytest.mark.parametrize("name", ["adam with decay", "lars", "lamb", "sgd, clipped"])
@pytest.mark.parametrize("block_bytes", [0, 100, 10**9])
def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch, name: str, block_bytes: int) -> None:
    """One array at a time, a few, or all that are alike."""
    monkeypatch.setattr(torch_optimizers, "CPU_BLOCK_BYTES", block_bytes)
    run = _Torch(CONFIGS[name], _draw(0))
    for step in range(STEPS):
        run.step(_draw(step + 1), _rate(step))
    _close(run.arrays(), _by_rules(CONFIGS[name], _draw(0), STEPS), 1e-12)


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
    assert rules.decayed_names(arrays, OptimizerConfig(weight_decay=0.1)) == kernels
    assert rules.decayed_names(arrays, OptimizerConfig(weight_decay=0.0)) == kernels, "ratios adapt them all the same"
    assert rules.decayed_names(arrays, OptimizerConfig(weight_decay=0.1, decay_norm=True)) == everything


def test_every_rule_has_both_implementations() -> None:
    assert rules.RULES.keys() == torch_optimizers._UPDATES.keys() == tf_optimizers._UPDATES.keys()
