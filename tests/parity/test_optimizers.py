"""The optimizers: the definition against PyTorch's own classes and small sums by hand, both implementations against it.

Every step has a learning rate of its own, since rules that agree at a constant rate part when it changes. Tolerance in
float64 over 20 steps, 1e-12: one rounding of 1e-16 for each of some ten operations a step, and no feedback.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import torch

from benchmarks.unet import spec as unet
from horovod_runner.config.settings import OptimizerConfig
from horovod_runner.frameworks.tensorflow import optimizers as tensorflow_optimizers
from horovod_runner.frameworks.torch import optimizers as torch_optimizers
from horovod_runner.optimizers import rules
from tests.parity.optimizer_runs import (
    CONFIGS,
    DECAYED,
    FRAMEWORKS,
    SHAPES,
    STEPS,
    Arrays,
    TensorFlowRun,
    TorchRun,
    assert_close,
    by_rules,
    configs,
    draw,
    frameworks,
    one_step,
    rate_of,
)


@frameworks
@configs
def test_twenty_steps_follow_the_definition(framework, config: OptimizerConfig) -> None:
    """Weights and every slot."""
    run = framework(config, draw(0))
    for step in range(STEPS):
        run.step(draw(step + 1), rate_of(step))
    assert_close(run.arrays(), by_rules(config, draw(0), STEPS), 1e-12)


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
    weights = {key: torch.nn.Parameter(torch.from_numpy(w)) for key, w in draw(0).items()}
    theirs = _pytorchs_own(config, weights)
    for step in range(STEPS):
        for group in theirs.param_groups:
            group["lr"] = rate_of(step)
        for key, gradient in draw(step + 1).items():
            weights[key].grad = torch.from_numpy(gradient)
        if config.clip_norm is not None:
            _clip_as_pytorch_does(weights, config.clip_norm)
        theirs.step()
    expected = by_rules(config, draw(0), STEPS)
    assert_close(
        {key: p.detach().numpy() for key, p in weights.items()}, {key: expected[key] for key in weights}, 1e-12
    )


def _clip_as_pytorch_does(weights: dict[str, torch.nn.Parameter], largest: float) -> None:
    """Clip by clip_grad_norm_, with the 1e-6 that it adds to the norm taken out again."""
    norm = float(torch.nn.utils.get_total_norm(p.grad for p in weights.values()))
    torch.nn.utils.clip_grad_norm_(weights.values(), largest * (1 + 1e-6 / norm))


@pytest.mark.parametrize(
    "name", ["sgd with decay", "nesterov", "absorbed", "adam", "adamw", "lars", "lamb", "sgd, clipped"]
)
def test_frameworks_agree_in_float32(name: str) -> None:
    """20 steps of some ten roundings of 6e-8; TensorFlow's fused Adam, by comparison, is off by 6e-6 a step."""
    pair = [make(CONFIGS[name], draw(0, "float32")) for make in FRAMEWORKS.values()]
    for step in range(STEPS):
        for run in pair:
            run.step(draw(step + 1, "float32"), rate_of(step))
    assert_close(pair[0].arrays(), pair[1].arrays(), 2e-6)


@frameworks
@configs
def test_state_has_its_names(framework, config: OptimizerConfig) -> None:
    run = framework(config, draw(0))
    names = [name for name in run.arrays() if name not in SHAPES]
    assert names == rules.state_names(config, SHAPES)


@configs
def test_a_state_continues_in_the_other_framework(config: OptimizerConfig) -> None:
    """Ten steps in one, loaded into the other, ten more there: the trajectory of one run, both ways."""
    for first, second in (("torch", "tensorflow"), ("tensorflow", "torch")):
        begun = FRAMEWORKS[first](config, draw(0))
        for step in range(10):
            begun.step(draw(step + 1), rate_of(step))
        arrays = begun.arrays()
        resumed = FRAMEWORKS[second](config, {name: arrays[name] for name in SHAPES})
        _load(resumed, {name: array for name, array in arrays.items() if name not in SHAPES})
        for step in range(10, STEPS):
            resumed.step(draw(step + 1), rate_of(step))
        assert_close(resumed.arrays(), by_rules(config, draw(0), STEPS), 1e-12)


def _load(run: TorchRun | TensorFlowRun, state: Arrays) -> None:
    if isinstance(run, TorchRun):
        run.optimizer.load_state({name: torch.from_numpy(np.array(array)) for name, array in state.items()})
    else:
        for name, variable in run.optimizer.variables().items():
            variable.assign(state[name])


def _final(config: OptimizerConfig) -> Arrays:
    return {key: array for key, array in by_rules(config, draw(0), STEPS).items() if key in SHAPES}


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_corrected_absorbed_velocity_takes_the_same_path_and_an_uncorrected_one_parts(nesterov: bool) -> None:
    """Goyal et al. 2017, remark 2; the rate changes in every step of the warmup."""
    settings = {"nesterov": nesterov, "weight_decay": 0.1}
    plain = _final(OptimizerConfig(**settings))
    assert_close(_final(OptimizerConfig(velocity="absorbed", **settings)), plain, 1e-12)
    parted = _final(OptimizerConfig(velocity="absorbed", momentum_correction=False, **settings))
    assert np.abs(parted["kernel"] - plain["kernel"]).max() > 0.01


def test_an_uncorrected_absorbed_velocity_is_the_same_at_a_constant_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.parity.optimizer_runs.rate_of", lambda step: 0.05)
    assert_close(
        _final(OptimizerConfig(velocity="absorbed", momentum_correction=False)), _final(OptimizerConfig()), 1e-12
    )


def test_an_absorbed_velocity_is_the_rate_times_the_other() -> None:
    plain = by_rules(CONFIGS["sgd with decay"], draw(0), STEPS)
    absorbed = by_rules(CONFIGS["sgd with decay"].model_copy(update={"velocity": "absorbed"}), draw(0), STEPS)
    assert absorbed["rate"] == rate_of(STEPS - 1) and absorbed["rate"].dtype == np.float64
    assert_close(
        {key: absorbed[f"momentum/{key}"] for key in SHAPES},
        {key: rate_of(STEPS - 1) * plain[f"momentum/{key}"] for key in SHAPES},
        1e-12,
    )


@frameworks
def test_a_gradient_that_is_short_enough_is_not_clipped_and_a_longer_one_gets_the_norm(framework) -> None:
    """Plain SGD at rate 1 shows the gradient. Of all arrays together: each alone is shorter than their norm."""
    norm = float(np.sqrt(sum((g**2).sum() for g in draw(1).values())))
    for largest, scale in ((1.001 * norm, 1.0), (0.999 * norm, 0.999), (0.1 * norm, 0.1)):
        run = framework(OptimizerConfig(momentum=0.0, clip_norm=largest), draw(0))
        run.step(draw(1), 1.0)
        arrays = run.arrays()
        seen = {key: w - arrays[key] for key, w in draw(0).items()}
        assert_close(seen, {key: scale * g for key, g in draw(1).items()}, 1e-12)


@frameworks
def test_a_gradient_of_zeros_is_not_clipped_to_something_else(framework) -> None:
    run = framework(OptimizerConfig(momentum=0.0, clip_norm=1.0), draw(0))
    run.step({key: 0 * g for key, g in draw(1).items()}, 1.0)
    assert_close({key: run.arrays()[key] for key in SHAPES}, draw(0), 0.0)


def test_clipping_comes_before_decay() -> None:
    """Decay adds to the gradient what it adds without clipping."""
    zeros = {key: 0 * g for key, g in draw(1).items()}
    change = one_step(OptimizerConfig(momentum=0.0, weight_decay=0.5, clip_norm=1e-3), draw(0), zeros, 1.0)
    assert_close({"kernel": change["kernel"]}, {"kernel": 0.5 * draw(0)["kernel"]}, 1e-15)


@pytest.mark.parametrize("name", ["sgd", "adam", "lamb"])
def test_the_order_of_a_gradient_in_memory_does_not_matter(name: str) -> None:
    """A convolution's weights lie channels last, and a gradient that does not must not be taken for one that does."""
    config = OptimizerConfig(name=name, weight_decay=0.1)
    ends = []
    for layout in (torch.channels_last, torch.contiguous_format):
        weight = torch.from_numpy(draw(0)["convolution"]).contiguous(memory_format=torch.channels_last)
        parameter = torch.nn.Parameter(weight)
        optimizer = torch_optimizers.Optimizer(config, {"convolution": parameter}, DECAYED)
        for step in range(3):
            parameter.grad = torch.from_numpy(draw(step + 1)["convolution"]).contiguous(memory_format=layout)
            optimizer.step(0.1)
        ends.append({"convolution": parameter.detach().numpy()})
    assert_close(ends[0], ends[1], 1e-15)


def test_the_norm_of_a_large_array_is_as_good_in_float32() -> None:
    """Two million values, as ResNet-50's largest convolutions have; added up one after the other they lose 4e-5."""
    array = np.random.default_rng(0).standard_normal((512, 512, 3, 3)).astype("float32")
    laid = torch.from_numpy(array).contiguous(memory_format=torch.channels_last)
    norm = np.linalg.norm(array.astype("float64"))
    assert abs(float(torch_optimizers._norms([laid])[0]) / norm - 1) < 1e-6
    assert abs(float(tensorflow_optimizers._norm(tf.constant(array))) / norm - 1) < 1e-6


@pytest.mark.parametrize("name", ["adam with decay", "lars", "lamb", "sgd, clipped"])
@pytest.mark.parametrize("block_bytes", [0, 100, 10**9])
def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch, name: str, block_bytes: int) -> None:
    """One array at a time, a few, or all that are alike."""
    monkeypatch.setattr(torch_optimizers, "CPU_BLOCK_BYTES", block_bytes)
    run = TorchRun(CONFIGS[name], draw(0))
    for step in range(STEPS):
        run.step(draw(step + 1), rate_of(step))
    assert_close(run.arrays(), by_rules(CONFIGS[name], draw(0), STEPS), 1e-12)


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
    run = TorchRun(CONFIGS["sgd"], draw(0))
    state = {name: torch.ones_like(value) for name, value in run.optimizer.state().items()}
    change(state)
    with pytest.raises(ValueError, match=message):
        run.optimizer.load_state(state)
    assert not any(value.any() for value in run.optimizer.state().values())


def test_a_parameter_without_gradient_is_named() -> None:
    run = TorchRun(CONFIGS["sgd"], draw(0))
    with pytest.raises(RuntimeError, match="kernel has no gradient"):
        run.optimizer.step(0.1)


def test_gradients_that_do_not_match_the_variables_are_refused() -> None:
    run = TensorFlowRun(CONFIGS["sgd"], draw(0))
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
    assert rules.RULES.keys() == torch_optimizers._UPDATES.keys() == tensorflow_optimizers._UPDATES.keys()
