"""One model built in both frameworks from the same bytes, and all that it computes as neutral arrays, side by side."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf
import torch

from benchmarks.architecture import Architecture, Arrays
from benchmarks.layers.tensorflow.layers import from_canonical, to_canonical, variables_by_name
from benchmarks.objectives import tensorflow as tensorflow_objectives
from benchmarks.objectives import torch as torch_objectives
from benchmarks.workloads import WORKLOADS
from horovod_runner.config.settings import LossConfig
from horovod_runner.frameworks.tensorflow.graphs import graph
from horovod_runner.parity.rows import relative, worst
from horovod_runner.parity.sides import moved as starting_point

__all__ = ["Case", "Twins", "load_tf", "load_torch", "relative", "starting_point", "worst"]


@dataclass(frozen=True)
class Case:
    """A model and the batch it is given."""

    workload: str
    width: int
    channels: int
    classes: int
    image_size: int
    batch: int
    classifier: str | None = None

    @property
    def architecture(self) -> Architecture:
        """The specification for these sizes."""
        return WORKLOADS[self.workload].architecture(
            width=self.width,
            channels=self.channels,
            classes=self.classes,
            image_size=self.image_size,
            classifier=self.classifier,
        )

    def build(self, framework: str, **options: Any) -> Any:
        """Return the framework's model as its builder makes it."""
        builder = importlib.import_module(WORKLOADS[self.workload].builder(framework))
        return builder.build(self.architecture, **options)

    def images(self) -> np.ndarray:
        """Return float64 images, (batch, height, width, channels)."""
        shape = (self.batch, self.image_size, self.image_size, self.channels)
        return np.random.default_rng(1).standard_normal(shape)

    def targets(self) -> np.ndarray:
        """Return random targets of the workload's task."""
        pixels = (self.image_size, self.image_size) if WORKLOADS[self.workload].task == "segmentation" else ()
        return np.random.default_rng(2).integers(0, self.classes, (self.batch, *pixels), dtype=np.int32)


@dataclass(frozen=True)
class Outcome:
    """What a model computes: logits (channels last) in both modes, loss, gradients, statistics after training."""

    trained: np.ndarray
    evaluated: np.ndarray
    loss: float
    gradients: Arrays
    statistics: Arrays


def load_torch(model: torch.nn.Module, arrays: Arrays) -> None:
    """Copy canonical arrays into the model."""
    model.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})


def load_tf(model: Any, architecture: Architecture, arrays: Arrays) -> None:
    """Copy canonical arrays into the model."""
    variables = variables_by_name(model)
    for spec in architecture.arrays:
        variables[spec.name].assign(from_canonical(spec.kind, arrays[spec.name]))


def channels_last(logits: torch.Tensor) -> np.ndarray:
    """Return logits as TensorFlow lays them out."""
    array = logits.detach().numpy()
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


@dataclass(frozen=True)
class Twins:
    """A case in both frameworks; each outcome is computed once. `graph`: TensorFlow traces the pass, as a run does."""

    case: Case
    dtype: str = "float64"
    graph: bool = False

    @property
    def loss_config(self) -> LossConfig:
        """An objective with all its terms."""
        return LossConfig(label_smoothing=0.1, dice_weight=0.5)

    @cached_property
    def torch(self) -> Outcome:
        """PyTorch's outcome."""
        case, architecture = self.case, self.case.architecture
        model = case.build("torch").to(getattr(torch, self.dtype))
        load_torch(model, starting_point(architecture))
        images = torch.from_numpy(case.images().transpose(0, 3, 1, 2).astype(self.dtype))
        evaluated = channels_last(model.eval()(images))
        logits = model.train()(images)
        loss = self._objective(torch_objectives.loss)(
            logits, torch.from_numpy(case.targets()), torch.ones(case.batch, dtype=logits.dtype)
        )
        loss.backward()
        gradients = {name: p.grad.numpy() for name, p in model.named_parameters()}
        statistics = {name: b.numpy() for name, b in model.named_buffers()}
        return Outcome(channels_last(logits), evaluated, float(loss.detach()), gradients, statistics)

    @cached_property
    def tensorflow(self) -> Outcome:
        """TensorFlow's outcome."""
        case, architecture = self.case, self.case.architecture
        model = case.build("tensorflow", dtype_policy=self.dtype)
        load_tf(model, architecture, starting_point(architecture))
        variables = variables_by_name(model)
        watched = {spec.name: variables[spec.name] for spec in architecture.trainable}
        objective = self._objective(tensorflow_objectives.loss)

        def training(images: tf.Tensor) -> Any:
            with tf.GradientTape() as tape:
                logits = model(images, training=True)
                loss = objective(logits, tf.constant(case.targets()), tf.ones(case.batch, logits.dtype))
            return logits, loss, tape.gradient(loss, watched)

        images = tf.constant(case.images(), self.dtype)
        evaluated = model(images, training=False).numpy()
        logits, loss, gradients = (graph(training) if self.graph else training)(images)
        kinds = {spec.name: spec.kind for spec in architecture.arrays}
        return Outcome(
            logits.numpy(),
            evaluated,
            float(loss),
            {name: to_canonical(kinds[name], g.numpy()) for name, g in gradients.items()},
            {spec.name: variables[spec.name].numpy() for spec in architecture.statistics},
        )

    def _objective(self, make: Callable[..., Any]) -> Any:
        return make(WORKLOADS[self.case.workload].task, self.loss_config)
