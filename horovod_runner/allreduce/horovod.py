"""All workers, met through Horovod; frameworks add their own tensors, and hand over their binding."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from horovod_runner.allreduce.settings import library_environment, require_operations
from horovod_runner.config.schema import RunConfig


class HorovodGroup:
    """The members of Horovod's world, which starts here.

    `hvd` is a framework's binding, and `tensor` makes a tensor of the framework's from a NumPy array, which it copies.
    """

    def __init__(self, config: RunConfig, hvd: Any, tensor: Callable[[np.ndarray], Any]) -> None:
        os.environ.update(library_environment(config))
        hvd.init()
        require_operations(config, nccl_built=bool(hvd.nccl_built()), by_mpi=hvd.mpi_enabled())
        self._hvd, self._tensor = hvd, tensor
        self.size: int = hvd.size()
        self.rank: int = hvd.rank()

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Return the element-wise mean of a float64 vector over workers."""
        reduced = self._hvd.allreduce(self._tensor(values), name="mean", op=self._hvd.Average)
        return np.asarray(reduced)

    def gather(self, values: np.ndarray) -> np.ndarray:
        """Return (workers, length) of a float64 vector."""
        return np.asarray(self._hvd.allgather(self._tensor(values[None, :]), name="gather"))

    def barrier(self) -> None:
        """Return when every worker has come here: TensorFlow's binding has no barrier, and the smallest sum does."""
        self._hvd.allreduce(self._tensor(np.zeros(1)), name="barrier", op=self._hvd.Sum)

    def close(self) -> None:
        """Leave Horovod in order, so that no worker is taken for dead."""
        self._hvd.shutdown()
