"""What every strategy looks like to the TensorFlow backend, and the one that reduces nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf


class Reducer:
    """Makes this worker's gradients all workers'. This one leaves them as they are: for one worker, or compute-only
    ones.

    `begin` and `reduce` are called while a step's graph is traced: before the model, and between the gradients and the
    update of `updated`. What is between steps runs at once. Names are canonical.
    """

    sharded = False  # whether `updated` are this worker's shards of the parameters

    def __init__(self, variables: Mapping[str, tf.Variable]) -> None:
        self.variables = variables
        self.updated: Mapping[str, tf.Variable] = variables  # what the optimizer updates

    def begin(self) -> None:
        """Bring the variables up to date."""

    def reduce(self, gradients: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
        """Return the gradients of `updated`, from this worker's own of `variables`, in their order."""
        return gradients

    def flush(self) -> None:
        """Finish all that is under way; every worker calls it."""

    def state(self) -> dict[str, tf.Variable]:
        """Return what else a later step depends on: `<slot>/<parameter>`."""
        return {}

    def gather(self, name: str, variable: tf.Variable) -> np.ndarray:
        """Return an array of the state, of which this worker may hold a shard only; every worker calls it."""
        value: np.ndarray = variable.numpy()
        return value

    def shard(self, name: str, variable: tf.Variable, value: np.ndarray) -> None:
        """Assign a whole array to a variable of the state."""
        variable.assign(value)
