"""The losses in TensorFlow; reference.py defines them."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from benchmarks.objectives.reference import DICE_SMOOTHING, LossSettings

Loss = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


def loss(task: str, config: LossSettings, void: bool = False) -> Loss:
    """Return (logits, targets, weights) -> scalar, float32 at least.

    logits: (batch, classes), or (batch, height, width, classes) in segmentation. targets: integers without the class
    axis, of which some may be VOID with `void`. weights: (batch,), reference.example_weights.
    """
    per_example = _with_void if void else _PER_EXAMPLE[task]

    def mean(logits: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        wide = logits if logits.dtype == tf.float64 else tf.cast(logits, tf.float32)
        losses = per_example(wide, tf.one_hot(targets, wide.shape[-1], dtype=wide.dtype), config)
        weights = tf.cast(weights, losses.dtype)
        return tf.math.divide_no_nan(tf.reduce_sum(losses * weights), tf.reduce_sum(weights))

    return mean


def _classification(logits: tf.Tensor, y: tf.Tensor, config: LossSettings) -> tf.Tensor:
    """Return cross-entropy, y the one-hot target of the logits' shape."""
    smoothing = config.label_smoothing
    smooth = (1 - smoothing) * y + smoothing / y.shape[-1] if smoothing else y
    return tf.nn.softmax_cross_entropy_with_logits(labels=smooth, logits=logits)


def _segmentation(logits: tf.Tensor, y: tf.Tensor, config: LossSettings) -> tf.Tensor:
    crossed = tf.reduce_mean(_classification(logits, y, config), axis=[1, 2])
    if config.dice_weight == 0:
        return crossed
    return crossed + config.dice_weight * _dice(tf.nn.softmax(logits), y)


def _with_void(logits: tf.Tensor, y: tf.Tensor, config: LossSettings) -> tf.Tensor:
    """Return the losses of segmentation over the pixels that are not VOID, which have no class in y."""
    valid = tf.reduce_sum(y, axis=-1)
    pixels = tf.maximum(tf.reduce_sum(valid, axis=[1, 2]), 1)
    crossed = tf.reduce_sum(_classification(logits, y, config) * valid, axis=[1, 2]) / pixels
    if config.dice_weight == 0:
        return crossed
    return crossed + config.dice_weight * _dice(tf.nn.softmax(logits) * valid[..., None], y)


def _dice(p: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    both, sizes = (tf.reduce_sum(p * y, axis=[1, 2]), tf.reduce_sum(p, axis=[1, 2]) + tf.reduce_sum(y, axis=[1, 2]))
    return 1 - tf.reduce_mean((2 * both + DICE_SMOOTHING) / (sizes + DICE_SMOOTHING), axis=-1)


_PER_EXAMPLE = {"classification": _classification, "segmentation": _segmentation}
