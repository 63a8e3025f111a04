"""The ways in which two frameworks are known to part unnoticed, each put in on purpose, to see the table turn red.

A proof that cannot fail proves nothing. Each trap changes one side only, TensorFlow's, and `spring` returns the small
table that is then made; without a trap it is green.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any
from unittest.mock import patch

import tensorflow as tf

from benchmarks.data.batch import Batch
from benchmarks.layers.tensorflow import layers as tensorflow_layers
from benchmarks.layers.tensorflow.batch_norm import BatchNorm
from benchmarks.resnet50 import tensorflow_model
from horovod_runner.frameworks.tensorflow import backend as tensorflow_backend
from horovod_runner.parity import compare
from horovod_runner.parity.functions import function, in_precision
from horovod_runner.parity.rows import Row
from horovod_runner.parity.settings import plain
from horovod_runner.parity.sides import Change, Side

STEPS = 4
DECAY = 0.1
TOLERANCE = 1e-9
_SIZES: dict[str, dict[str, Any]] = {
    "unet": {"width": 4, "data": {"name": "digit_scenes", "image_size": 32, "examples": 64}, "virtual_workers": 2},
    "resnet50": {"width": 4, "data": {"name": "digits", "image_size": 64}},
}


@contextlib.contextmanager
def _nothing() -> Iterator[None]:
    yield


def _unchanged(step: int, batch: Batch) -> Batch:
    return batch


@dataclass(frozen=True)
class Trap:
    """One way to part: other settings, another batch or other code on TensorFlow's side.

    In another precision than float64 only the rows about the function are made.
    """

    workload: str = "unet"
    settings: Mapping[str, Any] = field(default_factory=dict)
    batch: Change = _unchanged
    precision: str = "float64"
    code: Callable[[], contextlib.AbstractContextManager[Any]] = _nothing


def spring(trap: Trap | None) -> list[Row]:
    """Return the small table with this trap in TensorFlow's side; None: with none, for comparison."""
    trap = trap or Trap()
    with trap.code():
        try:
            return _table(trap) if trap.precision == "float64" else _function(trap)
        except tensorflow_layers.ArraysDiffer as error:
            why = "the builder compares its arrays with the specification"
            return [Row(claim="parameters", what=f"a model is built: {error}", difference=1, tolerance=0, why=why)]


def _table(trap: Trap) -> list[Row]:
    """Return the rows; the one about decay takes two more sides, and only settings can turn it red."""
    settings = _plain(trap.workload, DECAY)
    settings["optimizer"] = {**settings["optimizer"], **trap.settings}
    touched = bool(trap.settings) or trap.code is not _nothing
    first = Side("tensorflow", settings) if touched else _untouched("tensorflow", trap.workload, DECAY)
    pair = first, _untouched("torch", trap.workload, DECAY)
    rows = compare.parameters(pair, trap.workload)
    why = "1e-16 a step, multiplied by every step that follows"
    runs = pair[0].train(STEPS, trap.batch), pair[1].train(STEPS)
    rows += compare.same_trajectory(*runs, trap.workload, TOLERANCE, why)
    if trap.code is _nothing:
        bare = _untouched("tensorflow", trap.workload, 0.0), _untouched("torch", trap.workload, 0.0)
        rows.append(compare.decay(pair, bare, trap.workload))
    return rows + function(pair, trap.workload)


def _plain(workload: str, weight_decay: float) -> dict[str, Any]:
    """Return the job whose trajectory is compared."""
    optimizer = {"name": "sgd", "learning_rate": 0.05, "weight_decay": weight_decay}
    schedule = {"warmup": "from_zero", "warmup_epochs": 0.5}
    return plain(workload, **_SIZES[workload], optimizer=optimizer, schedule=schedule)


def _untouched(framework: str, workload: str, weight_decay: float) -> Side:
    """Return a side without a trap, at the beginning of its run: made once, since no trap reaches it."""
    side = _made(framework, workload, weight_decay)
    side.restart()
    return side


@cache
def _made(framework: str, workload: str, weight_decay: float) -> Side:
    return Side(framework, _plain(workload, weight_decay))


def _function(trap: Trap) -> list[Row]:
    plain_side = in_precision(trap.workload, trap.precision, width=4)
    return function((Side("tensorflow", plain_side), Side("torch", plain_side)), trap.workload)


def _batch_norm(**numbers: float) -> Callable[[], Any]:
    original = BatchNorm.__init__

    def altered(self: BatchNorm, **options: Any) -> None:
        original(self, **{**options, **numbers})

    return lambda: patch.object(BatchNorm, "__init__", altered)


def _asymmetric() -> Any:
    """Pad as TensorFlow's SAME does: with stride 2, more on the right and below."""

    def call(self: tensorflow_layers.Convolution, x: tf.Tensor) -> tf.Tensor:
        y = tf.nn.conv2d(x, self.weight.value, self.stride, "SAME" if self.padding else "VALID")
        return tf.nn.bias_add(y, self.bias.value) if self.has_bias else y

    return patch.object(tensorflow_layers.Convolution, "call", call)


def _stride_first() -> Any:
    """ResNet v1: the stride in the first 1x1 convolution of a block."""

    def bottleneck(make: tensorflow_layers.Layers, x: Any, block: Any) -> Any:
        name = block.name
        y = make.relu(make.norm(make.conv(x, f"{name}.conv1", block.inner, 1, stride=block.stride), f"{name}.bn1"))
        y = make.relu(make.norm(make.conv(y, f"{name}.conv2", block.inner, 3, padding=1), f"{name}.bn2"))
        y = make.norm(make.conv(y, f"{name}.conv3", block.out, 1), f"{name}.bn3")
        return make.relu(make.add(y, tensorflow_model._shortcut(make, x, block)))

    return patch.object(tensorflow_model, "_bottleneck", bottleneck)


def _biased_convolutions() -> Any:
    original = tensorflow_layers.Layers.conv

    def conv(self: tensorflow_layers.Layers, *args: Any, **options: Any) -> Any:
        return original(self, *args, **{**options, "bias": True})

    return patch.object(tensorflow_layers.Layers, "conv", conv)


def _biased_variance() -> Any:
    original = BatchNorm.normalise_batch

    def normalise_batch(self: BatchNorm, x: tf.Tensor) -> Any:
        y, mean, variance = original(self, x)
        count = tf.cast(tf.size(x) // tf.shape(x)[-1], variance.dtype)
        return y, mean, variance * (count - 1) / count

    return patch.object(BatchNorm, "normalise_batch", normalise_batch)


def _sum_over_shards() -> Any:
    backend = tensorflow_backend.TensorFlowBackend
    original = backend._update

    def update(self: Any, gradients: Any, learning_rate: tf.Tensor) -> Any:
        return original(self, [gradient * self._micro_batches for gradient in gradients], learning_rate)

    return patch.object(backend, "_update", update)


def _other_initialiser() -> Any:
    """Keras' Glorot instead of He, or any other deviation: here a tenth more."""
    original = tensorflow_backend.create

    def create(job: Any) -> Any:
        kernels = {array.name for array in job.architecture.arrays if array.random}
        initial = {name: array * (1.1 if name in kernels else 1.0) for name, array in job.initial.items()}
        return original(replace(job, initial=initial))

    return patch.object(tensorflow_backend, "create", create)


def _permuted(step: int, batch: Batch) -> Batch:
    return replace(batch, images=batch.images[::-1].copy(), targets=batch.targets[::-1].copy())


TRAPS: dict[str, Trap] = {
    "Keras' momentum of batch normalisation (0.99)": Trap(code=_batch_norm(momentum=0.99)),
    "Keras' epsilon of batch normalisation (1e-3)": Trap(code=_batch_norm(epsilon=1e-3)),
    "asymmetric padding": Trap("resnet50", code=_asymmetric),
    "stride in the first 1x1 convolution": Trap("resnet50", code=_stride_first),
    "convolutions with a bias": Trap(code=_biased_convolutions),
    "a velocity that contains the learning rate": Trap(settings={"velocity": "absorbed", "momentum_correction": False}),
    "weight decay counted twice": Trap(settings={"weight_decay": 0.2}),
    "weight decay left out": Trap(settings={"weight_decay": 0.0}),
    "weight decay on batch normalisation": Trap(settings={"decay_norm": True}),
    "a biased running variance": Trap(code=_biased_variance),
    "Keras' epsilon, in float32's kernel": Trap(precision="float32", code=_batch_norm(epsilon=1e-3)),
    "a biased running variance, in float32's kernel": Trap(precision="float32", code=_biased_variance),
    "the sum over shards for their mean": Trap(code=_sum_over_shards),
    "a permuted batch": Trap(batch=_permuted),
    "another initialiser": Trap(code=_other_initialiser),
}
