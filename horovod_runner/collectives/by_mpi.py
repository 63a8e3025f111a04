"""Reducing by mpi4py, in place, without Horovod in the process; and copying, which is no reducing at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from horovod_runner.allreduce.algorithms import COPY, Arrays
from horovod_runner.allreduce.mpi import MpiGroup
from horovod_runner.config.schema import RunConfig


def join(algorithm: str, config: RunConfig) -> ByMpi:
    """Start MPI and return this rank."""
    group = MpiGroup(config)
    return Copier(group) if algorithm == COPY.name else ByMpi(group)


class ByMpi:
    """One blocking MPI.Allreduce for each array."""

    def __init__(self, group: MpiGroup) -> None:
        self.group = group
        self._arrays: list[np.ndarray] = []

    @property
    def contributors(self) -> Sequence[int]:
        """The ranks whose arrays a result is the sum of."""
        return range(self.group.size)

    def load(self, arrays: Arrays, name: str) -> None:
        """Take over what is to be reduced."""
        self._arrays = list(arrays)

    def reduce(self) -> None:
        """Sum over the ranks, in place."""
        for array in self._arrays:
            self.group.add_up(array)

    def result(self) -> list[np.ndarray]:
        """Return the sums."""
        return self._arrays


class Copier(ByMpi):
    """Copies what it is given, at the same time as all other ranks."""

    def __init__(self, group: MpiGroup) -> None:
        super().__init__(group)
        self._copies: list[np.ndarray] = []

    @property
    def contributors(self) -> Sequence[int]:
        """This rank alone."""
        return [self.group.rank]

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
