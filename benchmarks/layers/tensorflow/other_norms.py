"""Batch normalisation in TensorFlow by other statistics than a batch's: groups of examples, or all workers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import tensorflow as tf

from benchmarks.layers.batch_norm import Normalisation, share
from benchmarks.layers.tensorflow.batch_norm import BatchNorm, values_per_channel
from benchmarks.layers.tensorflow.layers import NormFactory

MeanOverWorkers = Callable[[tf.Tensor, str], tf.Tensor]


class CurrentMicroBatch:
    """Which micro-batch of the step runs, in variables that graphs read; the backend counts.

    As in PyTorch's layers: it is the `number`-th of the `counted` that hold examples, has `examples` itself, and a
    worker's batch has `mean_examples` in the mean.
    """

    def __init__(self, micro_batches: int) -> None:
        self.number = tf.Variable(0, trainable=False, name="micro_batch")
        self.counted = tf.Variable(micro_batches, trainable=False, name="counted")
        self.examples = tf.Variable(0.0, trainable=False, dtype=tf.float64, name="examples")
        self.mean_examples = tf.Variable(0.0, trainable=False, dtype=tf.float64, name="mean_examples")


def factory(how: Normalisation, current: CurrentMicroBatch, mean_over_workers: MeanOverWorkers) -> NormFactory | None:
    """Return what builders take as `batch_norm`; None where the plain layer does the job."""
    if how.plain:
        return None
    if not how.synchronised:
        return partial(GroupedBatchNorm, how=how, current=current)
    return partial(SynchronisedBatchNorm, how=how, current=current, mean_over_workers=mean_over_workers)


class GroupedBatchNorm(BatchNorm):
    """Normalise each group of examples by its own statistics; the running ones take in the mean over all groups."""

    def __init__(self, *, how: Normalisation, current: CurrentMicroBatch, **options: Any) -> None:
        super().__init__(**options)
        self._how, self._current = how, current

    def normalise_batch(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return (y, mean, unbiased variance), group by group; the batch must be known when the graph is traced."""
        groups = x.shape[0] // (self._how.group or x.shape[0])
        return super().normalise_batch(x) if groups == 1 else self._normalise_groups(x, groups)

    def usual_share(self) -> tf.Tensor:
        """Return the share of this micro-batch among those of its step."""
        counted, number = (tf.cast(v, tf.float64) for v in (self._current.counted, self._current.number))
        return share(self.new_share, self._how.micro_batches, counted, number)

    def _normalise_groups(self, x: tf.Tensor, groups: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return (y, mean over groups of their means, and of their unbiased variances).

        All groups at once, by few operations on (groups, values, channels): a kernel for each group would make graphs
        that take minutes to trace. The gradient is written out (Ioffe and Szegedy 2015, section 3), to keep no more
        than x for it.
        """
        channels, wide = x.shape[-1], self.running_mean.dtype

        @tf.custom_gradient
        def normalised(x: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor) -> Any:
            """Return (y, mean, variance) and what takes the gradient of y back to x, weight and bias."""
            grouped = tf.cast(tf.reshape(x, (groups, -1, channels)), wide)
            mean = tf.reduce_mean(grouped, axis=1, keepdims=True)
            variance = tf.reduce_mean(tf.math.squared_difference(grouped, mean), axis=1, keepdims=True)
            inverse = tf.math.rsqrt(variance + tf.constant(self.epsilon, wide))
            y = tf.reshape(tf.cast((grouped - mean) * (inverse * weight) + bias, x.dtype), tf.shape(x))

            def gradient(dy: tf.Tensor, *_: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
                """Return the gradients of x, weight and bias; nothing depends on the statistics that are returned."""
                slopes = tf.cast(tf.reshape(dy, (groups, -1, channels)), wide)
                hat = (tf.cast(tf.reshape(x, (groups, -1, channels)), wide) - mean) * inverse
                mean_dy = tf.reduce_mean(slopes, axis=1, keepdims=True)
                mean_dy_hat = tf.reduce_mean(slopes * hat, axis=1, keepdims=True)
                dx = (slopes - mean_dy - hat * mean_dy_hat) * (inverse * weight)
                values = tf.cast(tf.shape(hat)[1], wide)
                d_weight, d_bias = (tf.reduce_sum(m, axis=[0, 1]) * values for m in (mean_dy_hat, mean_dy))
                return tf.reshape(tf.cast(dx, x.dtype), tf.shape(x)), d_weight, d_bias

            return (y, tf.reduce_mean(mean, axis=[0, 1]), tf.reduce_mean(variance, axis=[0, 1])), gradient

        y, mean, variance = normalised(x, tf.identity(self.weight.value), tf.identity(self.bias.value))
        values = values_per_channel(x) / groups
        return y, mean, variance * (values / (values - 1))


class SynchronisedBatchNorm(BatchNorm):
    """Normalise by the statistics of all workers' batches: of all examples together, however they are divided.

    One reduction of two values a channel in each direction. Formulas as in torch_batch_norm._Synchronised.
    """

    def __init__(
        self, *, how: Normalisation, current: CurrentMicroBatch, mean_over_workers: MeanOverWorkers, **options: Any
    ) -> None:
        super().__init__(**options)
        self._how, self._current, self._mean_over_workers = how, current, mean_over_workers

    def normalise_batch(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return (y, mean, unbiased variance) of all workers' batches; the last two (channels,)."""
        y, mean, variance = self._normalised(x, self.weight.value, self.bias.value)
        values = self._how.workers * self._mean_values(x)
        return y, mean, variance * (values / (values - 1))

    def _normalised(self, x: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor) -> Any:
        shift = tf.identity(self.running_mean.value)

        @tf.custom_gradient
        def normalised(x: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor) -> Any:
            mean, variance = self._statistics(x, shift)
            y = self.normalise(x, weight, bias, mean, variance)

            def gradient(dy: tf.Tensor, *_: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
                return self._gradient(x, weight, mean, variance, dy)

            return (y, mean, variance), gradient

        return normalised(x, tf.identity(weight), tf.identity(bias))

    def _statistics(self, x: tf.Tensor, shift: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return mean and biased variance over all workers, by the law of total variance.

        Means are taken relative to the running mean, which all workers share: squares of large numbers would cancel.
        """
        own_mean, own_variance = tf.nn.moments(tf.cast(x, shift.dtype), axes=[0, 1, 2])
        offset = own_mean - shift
        moments = tf.concat([offset, own_variance + tf.square(offset)], axis=0)
        offset, second = tf.split(self._reduce(self._by_share(moments), "forward"), 2)
        return shift + offset, second - tf.square(offset)

    def _gradient(
        self, x: tf.Tensor, weight: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, dy: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return the gradients of x, weight and bias; the last two stay this worker's, to be averaged as all are."""
        inverse = tf.math.rsqrt(variance + tf.constant(self.epsilon, variance.dtype))
        scaled, d_weight, d_bias = self._gradient_at_fixed_statistics(x, weight, mean, variance, inverse, dy)
        sums = self._reduce(tf.concat([d_bias, d_weight], axis=0) / self._mean_values(x), "backward")
        mean_dy, mean_dy_x = tf.split(sums, 2)
        slope = -weight * tf.square(inverse) * mean_dy_x
        constant = -weight * inverse * mean_dy - slope * mean
        dx = scaled + tf.cast(slope, x.dtype) * x + tf.cast(constant, x.dtype)
        return self._unless_blank(dx), d_weight, d_bias

    def _mean_values(self, x: tf.Tensor) -> tf.Tensor:
        """Return the mean over workers of their values a channel."""
        if not self._how.uneven:
            return values_per_channel(x)
        return tf.cast(self._current.mean_examples, self.running_mean.dtype) * (x.shape[1] * x.shape[2])

    def _by_share(self, moments: tf.Tensor) -> tf.Tensor:
        """Return moments times this batch's examples over the mean of all workers'."""
        if not self._how.uneven:
            return moments
        return moments * tf.cast(self._current.examples / self._current.mean_examples, moments.dtype)

    def _unless_blank(self, dx: tf.Tensor) -> tf.Tensor:
        """Return the gradient of x, which is 0 for a blank row: it has no part in the statistics."""
        return dx * tf.cast(self._current.examples > 0, dx.dtype) if self._how.uneven else dx

    def _gradient_at_fixed_statistics(
        self, x: tf.Tensor, weight: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, inverse: tf.Tensor, dy: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return weight / s dy, sum(dy x^) and sum(dy)."""
        if x.dtype == tf.float64:
            d_weight = tf.reduce_sum(dy * (x - mean), axis=[0, 1, 2]) * inverse
            return dy * (weight * inverse), d_weight, tf.reduce_sum(dy, axis=[0, 1, 2])
        return tf.raw_ops.FusedBatchNormGradV3(
            y_backprop=dy,
            x=x,
            scale=weight,
            reserve_space_1=mean,
            reserve_space_2=variance,
            reserve_space_3=tf.zeros((0,), tf.float32),
            epsilon=self.epsilon,
            is_training=False,
        )[:3]

    def _reduce(self, vector: tf.Tensor, direction: str) -> tf.Tensor:
        return self._mean_over_workers(vector, f"{self.name}.{direction}")
