"""TensorFlow's gradients reduced by mpi4py, without Horovod in the process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from horovod_runner.allreduce.mpi import MpiGroup
from horovod_runner.config.schema import RunConfig
from horovod_runner.config.settings import AllreduceConfig
from horovod_runner.frameworks.tensorflow.reducer import Reducer

ALIGNMENT = 64  # bytes: TensorFlow takes arrays that lie so as they are, and copies others


class JoinedGroup(MpiGroup):
    """All workers, met through MPI, with TensorFlow's tensors."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        self._last: tuple[tf.Graph, tf.Tensor] | None = None

    def mean_in_step(self, vector: tf.Tensor, name: str) -> tf.Tensor:
        """Return the element-wise mean of a small tensor over workers, for layers that need it amid a step.

        MPI knows no names: within a graph each mean waits for the one before, so that all workers come to them in the
        order in which the graph was traced.
        """
        graph = vector.graph
        before = [self._last[1]] if self._last is not None and self._last[0] is graph else []
        with tf.control_dependencies(before):
            mean = tf.numpy_function(self._mean, [vector], vector.dtype)
        self._last = graph, mean
        return tf.ensure_shape(mean, vector.shape)

    def _mean(self, vector: np.ndarray) -> np.ndarray:
        summed = np.empty_like(vector)
        self.add_up(vector, summed)
        summed /= self.size
        return summed


class Blocking(Reducer):
    """One allreduce of each gradient after the backward pass, into memory that is kept from step to step."""

    def __init__(self, variables: Mapping[str, tf.Variable], group: JoinedGroup, how: AllreduceConfig) -> None:
        super().__init__(variables)
        self._group = group
        self._divisor = group.size if how.operation == "average" else 1
        self._reduced = [_aligned(v.shape.as_list(), v.dtype.as_numpy_dtype) for v in variables.values()]

    def reduce(self, gradients: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
        """Return all workers' gradients, by one call from the graph: MPI wants all workers' calls in one order."""
        reduced = tf.numpy_function(self._add_up, list(gradients), [g.dtype for g in gradients])
        return [tf.ensure_shape(r, g.shape) for r, g in zip(reduced, gradients, strict=True)]

    def _add_up(self, *gradients: np.ndarray) -> list[np.ndarray]:
        for own, reduced in zip(gradients, self._reduced, strict=True):
            self._group.add_up(own, reduced)
            if self._divisor > 1:
                reduced /= self._divisor
        return self._reduced


def _aligned(shape: Sequence[int], dtype: type) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first : first + size].view(dtype).reshape(shape)


STRATEGIES = {"blocking": Blocking}
