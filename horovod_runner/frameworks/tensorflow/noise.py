"""Squared norms of gradients in TensorFlow, within a step's graph."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def squared(gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    """Return the sum of the squares of all elements, float64; 0 of no gradients."""
    if not gradients:
        return tf.zeros((), tf.float64)
    return 2 * tf.add_n([tf.cast(tf.nn.l2_loss(gradient), tf.float64) for gradient in gradients])
