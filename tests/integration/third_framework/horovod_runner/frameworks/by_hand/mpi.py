"""Gradients in NumPy reduced by mpi4py."""

from __future__ import annotations

import numpy as np

from benchmarks.architecture import Arrays
from horovod_runner.allreduce.mpi import MpiGroup
from horovod_runner.config.settings import AllreduceConfig


class JoinedGroup(MpiGroup):
    """All workers, met through MPI; their tensors are arrays already."""

    def mean_in_step(self, vector: np.ndarray, name: str) -> np.ndarray:
        """Return the element-wise mean of a vector over workers."""
        return self.mean(vector)


class Blocking:
    """One allreduce after the backward pass, of each gradient."""

    def __init__(self, group: JoinedGroup, how: AllreduceConfig) -> None:
        self._group = group
        self._divisor = group.size if how.operation == "average" else 1

    def reduce(self, gradients: Arrays) -> Arrays:
        """Return all workers' gradients, summed or averaged; these are overwritten."""
        for gradient in gradients.values():
            self._group.add_up(gradient)
            gradient /= self._divisor
        return gradients


STRATEGIES = {"blocking": Blocking}
