"""Optimizers on four small arrays: the definition and both implementations, step by step, at a changing rate."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import torch

from horovod_runner.config.settings import OptimizerConfig
from horovod_runner.frameworks.tensorflow import optimizers as tensorflow_optimizers
from horovod_runner.frameworks.tensorflow.graphs import graph
from horovod_runner.frameworks.torch import optimizers as torch_optimizers
from horovod_runner.optimizers import rules

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


def draw(seed: int, dtype: str = "float64") -> Arrays:
    generator = np.random.default_rng(seed)
    return {name: generator.standard_normal(shape).astype(dtype) for name, shape in SHAPES.items()}


def rate_of(step: int) -> float:
    """Return a warmup's learning rate, then a drop."""
    return 0.1 * (step + 1) / 10 if step < 10 else 0.01


class TorchRun:
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


class TensorFlowRun:
    def __init__(self, config: OptimizerConfig, weights: Arrays) -> None:
        self.weights = {name: tf.Variable(w) for name, w in weights.items()}
        self.optimizer = tensorflow_optimizers.Optimizer(config, self.weights, DECAYED)
        self._apply = graph(self.optimizer.apply)

    def step(self, gradients: Arrays, lr: float) -> None:
        self._apply([tf.constant(gradients[name]) for name in self.weights], tf.constant(lr, tf.float64))

    def arrays(self) -> Arrays:
        return {name: v.numpy() for name, v in {**self.weights, **self.optimizer.variables()}.items()}


FRAMEWORKS = {"torch": TorchRun, "tensorflow": TensorFlowRun}
frameworks = pytest.mark.parametrize("framework", FRAMEWORKS.values(), ids=FRAMEWORKS)


def by_rules(config: OptimizerConfig, weights: Arrays, steps: int) -> Arrays:
    state = rules.initial_state(config, weights)
    for step in range(steps):
        weights, state = rules.apply(config, weights, draw(step + 1), state, DECAYED, rate_of(step))
    return {**weights, **state}


def assert_close(ours: Arrays, expected: Arrays, tolerance: float) -> None:
    assert ours.keys() == expected.keys()
    for name, array in expected.items():
        assert ours[name].shape == array.shape
        assert np.abs(ours[name] - array).max() <= tolerance * np.abs(array).max(), name


def one_step(config: OptimizerConfig, weights: Arrays, gradients: Arrays, lr: float) -> Arrays:
    """Return by how much every array is changed in the first step; `kernel` alone is decayed."""
    after, _ = rules.apply(config, weights, gradients, rules.initial_state(config, weights), {"kernel"}, lr)
    return {name: weights[name] - after[name] for name in weights}
