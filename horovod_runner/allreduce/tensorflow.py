"""Reductions of gradients in TensorFlow, inside the graph of the training step.

A strategy is a function from the gradients of this worker to those of all; `STRATEGIES` is the table of them.
Horovod's own tape and optimizer wrappers fail on Keras 3's variables, so the collectives are called directly.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import horovod.tensorflow as hvd
import numpy as np
import tensorflow as tf

from horovod_runner.allreduce.settings import horovod_environment
from horovod_runner.config import AllreduceConfig


def fused(gradients: Sequence[tf.Tensor], names: Sequence[str]) -> list[tf.Tensor]:
    """Hand each gradient over as soon as it exists; Horovod fuses what waits."""
    return [
        hvd.allreduce(gradient, name=name.replace("/", "."), op=hvd.Average)
        for gradient, name in zip(gradients, names, strict=True)
    ]


STRATEGIES = {"fused": fused}


class HorovodGroup:
    """All workers, met through Horovod."""

    def __init__(self, settings: AllreduceConfig) -> None:
        os.environ.update(horovod_environment(settings))
        hvd.init()
        self.size: int = hvd.size()

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Return the element-wise mean of a float64 vector over workers."""
        reduced: np.ndarray = hvd.allreduce(tf.constant(values), name="mean", op=hvd.Average).numpy()
        return reduced

    def gather(self, values: np.ndarray) -> np.ndarray:
        """Return (workers, length) of a float64 vector."""
        rows: np.ndarray = hvd.allgather(tf.constant(values[None, :]), name="gather").numpy()
        return rows

    def mean_in_step(self, vector: tf.Tensor, name: str) -> tf.Tensor:
        """Return the element-wise mean of a small tensor over workers, for layers that need it amid a step."""
        return hvd.allreduce(vector, name=name.replace("/", "."), op=hvd.Average)

    def close(self) -> None:
        """Leave Horovod in order, so that no worker is taken for dead."""
        hvd.shutdown()
