"""All workers, met through mpi4py, for strategies that do without Horovod; frameworks add their own tensors."""

from __future__ import annotations

import os

import numpy as np

from horovod_runner.allreduce.settings import library_environment
from horovod_runner.config.schema import RunConfig


class MpiGroup:
    """The members of MPI's world. MPI starts here, and never beside Horovod's own in one process."""

    def __init__(self, config: RunConfig) -> None:
        os.environ.update(library_environment(config))
        import mpi4py

        # One thread at a time calls: the training loop's, or TensorFlow's that runs the reduction. A worker that fails
        # must not wait for the others in MPI's end, so that is called by close alone.
        mpi4py.rc.thread_level = "serialized"
        mpi4py.rc.finalize = False
        from mpi4py import MPI

        self._mpi, self._world = MPI, MPI.COMM_WORLD
        self.size: int = self._world.size
        self.rank: int = self._world.rank

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Return the element-wise mean of a float64 vector over workers."""
        summed = values.astype(np.float64)
        self.add_up(summed)
        return summed / self.size

    def gather(self, values: np.ndarray) -> np.ndarray:
        """Return (workers, length) of a float64 vector."""
        rows = np.empty((self.size, len(values)))
        self._world.Allgather(np.ascontiguousarray(values, np.float64), rows)
        return rows

    def add_up(self, own: np.ndarray, into: np.ndarray | None = None) -> None:
        """Sum arrays of all workers: in place, or into another array of the same size."""
        source, target = (self._mpi.IN_PLACE, own) if into is None else (own, into)
        self._world.Allreduce(source, target)

    def barrier(self) -> None:
        """Return when every worker has come here."""
        self._world.Barrier()

    def close(self) -> None:
        """Leave MPI in order."""
        self._mpi.Finalize()
