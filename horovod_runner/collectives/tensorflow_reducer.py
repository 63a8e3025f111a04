"""Reducing by Horovod's TensorFlow binding, in a graph: all tensors are handed over at once, and come back as others.

TensorFlow's tensors cannot be changed, so this is no reduction in place: a result takes memory of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import horovod.tensorflow as hvd
import numpy as np
import tensorflow as tf

from horovod_runner.collectives.ways import NCCL, Arrays

Tensors = list[tf.Tensor]


def join(way: str) -> TensorflowReducer:
    """Start Horovod and return this rank; tensors lie on this rank's GPU for NCCL, and in memory for all else."""
    hvd.init()
    return TensorflowReducer(f"/GPU:{hvd.local_rank()}" if way == NCCL else "/CPU:0")


class TensorflowReducer:
    """One graph for each list of lengths, with an allreduce for each tensor."""

    def __init__(self, device: str) -> None:
        self.rank: int = hvd.rank()
        self.size: int = hvd.size()
        self._device = device
        self._graph: Callable[[Tensors], Tensors] | None = None
        self._name = ""
        self._given: Tensors = []
        self._sums: Tensors = []

    @property
    def contributors(self) -> Sequence[int]:
        """The ranks whose arrays a result is the sum of."""
        return range(self.size)

    def load(self, arrays: Arrays, name: str) -> None:
        """Copy what is to be reduced into tensors."""
        self._sums = []
        with tf.device(self._device):
            self._given = [tf.constant(array) for array in arrays]
        if name != self._name:
            self._graph, self._name = _graph(name), name

    def reduce(self) -> None:
        """Sum over the ranks; an eager call returns when it is done."""
        assert self._graph is not None
        with tf.device(self._device):
            self._sums = self._graph(self._given)

    def result(self) -> list[np.ndarray]:
        """Return the sums."""
        return [tensor.numpy() for tensor in self._sums]

    def barrier(self) -> None:
        """Return when every rank has come here: the binding has no barrier, and the smallest sum does as well."""
        hvd.allreduce(tf.zeros(1), name="barrier", op=hvd.Sum)

    def gather(self, values: np.ndarray) -> np.ndarray:
        """Return (ranks, length) of a float64 vector."""
        rows: np.ndarray = hvd.allgather(tf.constant(values[None, :]), name="gather").numpy()
        return rows

    def close(self) -> None:
        """Leave Horovod in order, so that no rank is taken for dead."""
        hvd.shutdown()


def _graph(name: str) -> Callable[[Tensors], Tensors]:
    @tf.function
    def summed(tensors: Tensors) -> Tensors:
        return [hvd.allreduce(tensor, name=f"{name}.{i}", op=hvd.Sum) for i, tensor in enumerate(tensors)]

    return summed
