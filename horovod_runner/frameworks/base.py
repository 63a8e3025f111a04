"""The seam between the suite and a framework: one step, nothing finer.

A backend holds the model, its optimizer and its reduction. The loop sees the protocol below and never a framework's
name; a new framework costs one package, whose backend.py has a `create` function, and one row of FRAMEWORKS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks.architecture import Architecture, Arrays
from benchmarks.data.batch import Batch
from horovod_runner.config.schema import RunConfig
from horovod_runner.machine.world import World


@dataclass(frozen=True)
class Job:
    """All that a backend needs to build its model: the run, its architecture, the first weights, and who it is.

    `rendezvous` is a folder that all workers see, for groups that do without Horovod.
    """

    config: RunConfig
    architecture: Architecture
    initial: Arrays
    world: World
    threads: int
    rendezvous: Path


class Backend(Protocol):
    """One worker's model in one framework. Arrays are NumPy's, under canonical names and layouts."""

    def step(self, batch: Batch, learning_rate: float) -> float:
        """Train on this worker's part of a global batch; return its part of the loss, before the update.

        The mean of all workers' parts is the loss of the global batch: where batches weigh alike, a part is the mean
        over its own examples.
        """
        ...

    def evaluate(self, batch: Batch, *, training: bool = False) -> np.ndarray:
        """Return logits: (examples, classes) or (examples, height, width, classes).

        With the running statistics; in training mode with the batch's own, which the running ones take in.
        """
        ...

    def take_statistics(self, batch: Batch, behind: int) -> int:
        """Make the running statistics the mean of those of `behind` micro-batches, as they stand, and of this batch's.

        Nothing else changes. The batch is divided and normalised as in training, so that groups and workers count
        alike; with `behind` 0 nothing stays of what stood there. Return how many micro-batches they are the mean of
        now: without examples a batch has none.
        """
        ...

    def state(self) -> Arrays:
        """Return copies of weights, running statistics and optimizer state (`<slot>/<name>`); every worker calls it."""
        ...

    def state_of(self, names: Sequence[str]) -> Arrays:
        """Return copies of these arrays only; every worker must ask for the same."""
        ...

    def load_state(self, arrays: Arrays) -> None:
        """Replace what is named; what is not named stays."""
        ...

    def flush(self) -> None:
        """Finish what the last step left under way between workers; every worker must call it before state is read."""
        ...

    def ready_at(self) -> float | None:
        """Return the time.perf_counter() at which the last step's first gradient was ready to be reduced.

        None where nothing is reduced.
        """
        ...

    def squared_norms(self) -> tuple[float, float] | None:
        """Return what this worker knows of the last step's gradients; None unless `noise_scale` is set.

        The mean over its shards of the squared norm of a shard's gradient, and its share of the squared norm of the
        averaged one: the shares of all workers add up. Gradients of the loss alone, before weight decay and clipping;
        the average as it arrived, with what compression has made of it.
        """
        ...

    def synchronize(self) -> None:
        """Wait until the device has done all it was given."""
        ...

    def mean_over_ranks(self, values: np.ndarray) -> np.ndarray:
        """Return the element-wise mean of a float64 vector over all workers; every worker must call it."""
        ...

    def gather_over_ranks(self, values: np.ndarray) -> np.ndarray:
        """Return (workers, length): every worker's float64 vector; every worker must call it."""
        ...

    def close(self) -> None:
        """Leave the group of workers."""
        ...
