"""A run's workers as they exchange small vectors: the protocol, and the groups that do without Horovod and MPI."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from horovod_runner.machine.world import World


class Group(Protocol):
    """The workers of a run, as they exchange float64 vectors between steps; every worker must make the same calls."""

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Return the element-wise mean over workers."""
        ...

    def gather(self, values: np.ndarray) -> np.ndarray:
        """Return (workers, length)."""
        ...

    def mean_in_step(self, vector: Any, name: str) -> Any:
        """Return the element-wise mean of a framework's small tensor over workers, amid a step; names are unique."""
        ...

    def close(self) -> None:
        """Leave the group."""
        ...


class Member:
    """The part of a backend that is the same in every framework: it belongs to a group."""

    def __init__(self, group: Group) -> None:
        self._group = group

    def mean_over_ranks(self, values: np.ndarray) -> np.ndarray:
        """Return the element-wise mean of a float64 vector over all workers."""
        return self._group.mean(values)

    def gather_over_ranks(self, values: np.ndarray) -> np.ndarray:
        """Return (workers, length): every worker's float64 vector."""
        return self._group.gather(values)

    def close(self) -> None:
        """Leave the group of workers."""
        self._group.close()


class Solo:
    """The group of one worker."""

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Return the values as they are."""
        return values

    def gather(self, values: np.ndarray) -> np.ndarray:
        """Return (1, length)."""
        return values[None, :]

    def mean_in_step(self, vector: Any, name: str) -> Any:
        """Return the tensor as it is."""
        return vector

    def close(self) -> None:
        """Nothing to leave."""


class FileGroup:
    """A group that meets through a folder, for workers that must not have Horovod running (`strategy: none`).

    Used between steps only, never inside one; a round's files are removed by rank 0 two rounds later, when all have
    read them.
    """

    def __init__(self, world: World, folder: Path) -> None:
        self._world = world
        self._folder = folder
        self._round = 0
        folder.mkdir(parents=True, exist_ok=True)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Return the element-wise mean over workers."""
        return self.gather(values).mean(axis=0)

    def gather(self, values: np.ndarray) -> np.ndarray:
        """Return (workers, length)."""
        self._round += 1
        self._write(values)
        rows = [self._read(rank) for rank in range(self._world.size)]
        if self._world.rank == 0:
            for rank in range(self._world.size):
                self._file(self._round - 2, rank).unlink(missing_ok=True)
        return np.stack(rows)

    def mean_in_step(self, vector: Any, name: str) -> Any:
        """Files are no way to meet amid a step; settings that need it are refused without a reduction."""
        raise NotImplementedError("workers that do without Horovod cannot meet amid a step")

    def close(self) -> None:
        """Meet once more, so that nobody misses a file; then remove what is left of one's own."""
        self.gather(np.zeros(1))
        self._file(self._round - 1, self._world.rank).unlink(missing_ok=True)

    def _file(self, number: int, rank: int) -> Path:
        return self._folder / f"{number}-{rank}.npy"

    def _write(self, values: np.ndarray) -> None:
        target = self._file(self._round, self._world.rank)
        draft = target.with_suffix(".draft.npy")
        np.save(draft, values)
        os.replace(draft, target)

    def _read(self, rank: int) -> np.ndarray:
        file = self._file(self._round, rank)
        while not file.exists():
            time.sleep(0.002)
        values: np.ndarray = np.load(file)
        return values
