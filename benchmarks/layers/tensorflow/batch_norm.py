"""Batch normalisation in TensorFlow with PyTorch's arithmetic.

Keras' own layer keeps a biased running variance and has other defaults; this one follows Ioffe and Szegedy 2015 as
PyTorch does: the batch is normalised by its biased variance, and the running variance takes in the unbiased one (n / (n
- 1)).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf


class BatchNorm(keras.layers.Layer):
    """Normalise the last axis of (batch, height, width, channels); `momentum` is the share of the old statistics kept.

    Weights and statistics are float32 under every policy but float64. The fused kernel exists for 16 and 32 bits only,
    so float64 is written out. A subclass that normalises by other statistics overrides `normalise_batch`.
    """

    def __init__(self, *, epsilon: float, momentum: float, **options: Any) -> None:
        super().__init__(**options)
        self.epsilon, self.momentum = epsilon, momentum
        self.given_share: tf.Tensor | None = None  # in place of the usual one, while a graph is traced

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make weight, bias, running_mean and running_var, each (channels,)."""
        self.weight = self._add("weight", input_shape[-1], "ones", trainable=True)
        self.bias = self._add("bias", input_shape[-1], "zeros", trainable=True)
        self.running_mean = self._add("running_mean", input_shape[-1], "zeros", trainable=False)
        self.running_var = self._add("running_var", input_shape[-1], "ones", trainable=False)

    def _add(self, name: str, channels: int | None, initializer: str, trainable: bool) -> Any:
        return self.add_weight(
            name=name, shape=(channels,), initializer=initializer, trainable=trainable, autocast=False
        )

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input's shape."""
        return input_shape

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return x normalised: by its own statistics, which are also taken in, or by the running ones."""
        if not training:
            return self.normalise(
                x, self.weight.value, self.bias.value, self.running_mean.value, self.running_var.value
            )
        return self.train(x)

    def train(self, x: tf.Tensor) -> tf.Tensor:
        """Return x normalised by its own statistics, and take them in."""
        y, mean, unbiased_variance = self.normalise_batch(x)
        taken = self.usual_share() if self.given_share is None else self.given_share
        self.take_in(mean, unbiased_variance, tf.cast(taken, mean.dtype))
        return y

    def usual_share(self) -> tf.Tensor:
        """Return the share with which a forward pass takes its statistics in, in training."""
        return tf.constant(self.new_share, tf.float64)

    @property
    def new_share(self) -> float:
        """The share of a batch's statistics in the running ones."""
        return round(1 - self.momentum, 12)

    def take_in(self, mean: tf.Tensor, unbiased_variance: tf.Tensor, share: tf.Tensor) -> None:
        """Move the running statistics towards these by this share."""
        for running, new in ((self.running_mean.value, mean), (self.running_var.value, unbiased_variance)):
            running.assign((1 - share) * running + share * tf.stop_gradient(new))

    def normalise_batch(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return (y, mean, unbiased variance) of this batch; the last two (channels,)."""
        if x.dtype == tf.float64:
            return self._normalise_batch_in_double(x)
        # exponential_avg_factor stays 1, so the kernel returns the batch's mean and its variance times n / (n - 1).
        return tf.raw_ops.FusedBatchNormV3(
            x=x, scale=self.weight.value, offset=self.bias.value, mean=[], variance=[], epsilon=self.epsilon
        )[:3]

    def _normalise_batch_in_double(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        mean, variance = tf.nn.moments(x, axes=[0, 1, 2])
        values = values_per_channel(x)
        y = self.normalise(x, self.weight.value, self.bias.value, mean, variance)
        return y, mean, variance * (values / (values - 1))

    def normalise(
        self, x: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor
    ) -> tf.Tensor:
        """Return x normalised by statistics that are given; all but x are (channels,)."""
        if x.dtype == tf.float64:
            scale = tf.math.rsqrt(variance + tf.constant(self.epsilon, x.dtype)) * weight
            return (x - mean) * scale + bias
        return tf.raw_ops.FusedBatchNormV3(
            x=x, scale=weight, offset=bias, mean=mean, variance=variance, epsilon=self.epsilon, is_training=False
        )[0]


@contextlib.contextmanager
def taking_in(model: keras.Model, share: tf.Tensor) -> Iterator[None]:
    """Have every layer of a graph that is traced meanwhile take statistics in with this share."""
    norms = [layer for layer in model.layers if isinstance(layer, BatchNorm)]
    for norm in norms:
        norm.given_share = share
    try:
        yield
    finally:
        for norm in norms:
            norm.given_share = None


def values_per_channel(x: tf.Tensor) -> tf.Tensor:
    """Return how many values of x (channels last) belong to a channel, in x's precision or float32."""
    return tf.cast(tf.size(x) // tf.shape(x)[-1], x.dtype if x.dtype == tf.float64 else tf.float32)
