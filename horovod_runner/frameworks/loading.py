"""The backend of runs that measure the input alone: it takes batches and computes nothing, in no framework.

What such a run delivers is the ceiling that the input sets to the same run with a model behind it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.architecture import Arrays
from benchmarks.data.batch import Batch
from horovod_runner.allreduce.groups import Group, Member
from horovod_runner.allreduce.settings import join
from horovod_runner.frameworks.base import Job


def create(job: Job) -> LoadingBackend:
    """Join the other workers; nothing is built."""
    group, _ = join(job.config, job.world, job.rendezvous)
    return LoadingBackend(group)


class LoadingBackend(Member):
    """A backend without a model."""

    def __init__(self, group: Group) -> None:
        super().__init__(group)

    def step(self, batch: Batch, learning_rate: float) -> float:
        """Read the batch once, as a copy to a device would; the loss is 0, of nothing."""
        batch.images.max()
        return 0.0

    def evaluate(self, batch: Batch, *, training: bool = False) -> np.ndarray:
        """There is no model to evaluate; such runs never validate."""
        raise NotImplementedError("a run that measures loading has no model")

    def take_statistics(self, batch: Batch, behind: int) -> int:
        """There is no model to take them from; such runs never validate."""
        raise NotImplementedError("a run that measures loading has no model")

    def state(self) -> Arrays:
        """Nothing is trained."""
        return {}

    def state_of(self, names: Sequence[str]) -> Arrays:
        """Nothing is trained."""
        return {}

    def load_state(self, arrays: Arrays) -> None:
        """Nothing is trained."""

    def flush(self) -> None:
        """Nothing is under way."""

    def ready_at(self) -> float | None:
        """There is no gradient."""
        return None

    def squared_norms(self) -> tuple[float, float] | None:
        """There is no gradient."""
        return None

    def synchronize(self) -> None:
        """Nothing is left to wait for."""
