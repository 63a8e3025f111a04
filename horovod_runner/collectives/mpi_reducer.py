"""Reducing by mpi4py, in place, without Horovod in the process; and copying, which is no reducing at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mpi4py import MPI

from horovod_runner.collectives.ways import COPY, Arrays


def join(way: str) -> MpiReducer:
    """Return this rank; MPI was started by the import."""
    return Copier() if way == COPY.name else MpiReducer()


class MpiReducer:
    """One blocking MPI.Allreduce for each array."""

    def __init__(self) -> None:
        self._world = MPI.COMM_WORLD
        self.rank: int = self._world.Get_rank()
        self.size: int = self._world.Get_size()
        self._arrays: list[np.ndarray] = []

    @property
    def contributors(self) -> Sequence[int]:
        """The ranks whose arrays a result is the sum of."""
        return range(self.size)

    def load(self, arrays: Arrays, name: str) -> None:
        """Take over what is to be reduced."""
        self._arrays = list(arrays)

    def reduce(self) -> None:
        """Sum over the ranks, in place."""
        for array in self._arrays:
            self._world.Allreduce(MPI.IN_PLACE, array, op=MPI.SUM)

    def result(self) -> list[np.ndarray]:
        """Return the sums."""
        return self._arrays

    def barrier(self) -> None:
        """Return when every rank has come here."""
        self._world.Barrier()

    def gather(self, values: np.ndarray) -> np.ndarray:
        """Return (ranks, length) of a float64 vector."""
        return np.stack(self._world.allgather(values))

    def close(self) -> None:
        """Nothing to leave: MPI ends with the process."""


class Copier(MpiReducer):
    """Copies what it is given, at the same time as all other ranks."""

    def __init__(self) -> None:
        super().__init__()
        self._copies: list[np.ndarray] = []

    @property
    def contributors(self) -> Sequence[int]:
        """This rank alone."""
        return [self.rank]

    def load(self, arrays: Arrays, name: str) -> None:
        """Take over what is to be copied, and the room for it."""
        super().load(arrays, name)
        self._copies = [np.zeros_like(array) for array in arrays]

    def reduce(self) -> None:
        """Copy every array."""
        for copy, array in zip(self._copies, self._arrays, strict=True):
            np.copyto(copy, array)

    def result(self) -> list[np.ndarray]:
        """Return the copies."""
        return self._copies
