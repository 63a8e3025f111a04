"""Reducing by Horovod's TensorFlow binding, in a graph: all tensors are handed over at once, and come back as others.

TensorFlow's tensors cannot be changed, so this is no reduction in place: a result takes memory of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import horovod.tensorflow as hvd
import numpy as np
import tensorflow as tf

from horovod_runner.allreduce.algorithms import NCCL, Arrays
from horovod_runner.config.schema import RunConfig
from horovod_runner.frameworks.tensorflow.graphs import graph
from horovod_runner.frameworks.tensorflow.horovod import JoinedGroup

Tensors = list[tf.Tensor]


def join(algorithm: str, config: RunConfig) -> ByTensorflow:
    """Start Horovod and return this rank; tensors lie on this rank's GPU for NCCL, and in memory for all else."""
    group = JoinedGroup(config)
    return ByTensorflow(group, f"/GPU:{hvd.local_rank()}" if algorithm == NCCL else "/CPU:0")


class ByTensorflow:
    """One graph for each list of lengths, with an allreduce for each tensor."""

    def __init__(self, group: JoinedGroup, device: str) -> None:
        self.group = group
        self._device = device
        self._graph: Callable[[Tensors], Tensors] | None = None
        self._name = ""
        self._given: Tensors = []
        self._sums: Tensors = []

    @property
    def contributors(self) -> Sequence[int]:
        """The ranks whose arrays a result is the sum of."""
        return range(self.group.size)

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


def _graph(name: str) -> Callable[[Tensors], Tensors]:
    @graph
    def summed(tensors: Tensors) -> Tensors:
        return [hvd.allreduce(tensor, name=f"{name}.{i}", op=hvd.Sum) for i, tensor in enumerate(tensors)]

    return summed
