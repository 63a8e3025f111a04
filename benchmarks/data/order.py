"""Which example is read when, and by whom: one global shuffle an epoch, a function of the seed and the epoch alone.

Global batch t of an epoch is order[t B : (t + 1) B] and worker r of N reads its rows [r B / N : (r + 1) B / N], so the
sequence of global batches never depends on the number of workers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from benchmarks.errors import DataError

AUGMENTATION = 1
"""Sets augmentation apart from the shuffle: SeedSequence pads its words with zeros, so this must not be one."""


def steps_per_epoch(examples: int, global_batch: int) -> int:
    """Return the full global batches in an epoch, the rest being dropped; DataError if there is not even one."""
    if global_batch > examples:
        raise DataError(
            f"global_batch: {global_batch} is more than the {examples} training examples;"
            f" lower the batch (or the workers) until global_batch is at most {examples}, or bring more data"
        )
    return examples // global_batch


@lru_cache(maxsize=2)
def epoch_order(examples: int, seed: int, epoch: int) -> np.ndarray:
    """Return the order in which an epoch visits its examples: a permutation, int64 (examples,), read-only."""
    order = np.random.default_rng([seed, epoch]).permutation(examples)
    order.flags.writeable = False
    return order


def example_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Return the generator of one example's augmentation in one epoch, whoever reads it."""
    return np.random.default_rng([seed, epoch, index, AUGMENTATION])


@dataclass(frozen=True)
class Shard:
    """The part of every global batch that belongs to worker `rank` of `workers`."""

    examples: int
    global_batch: int
    rank: int
    workers: int
    seed: int

    def __post_init__(self) -> None:
        steps_per_epoch(self.examples, self.global_batch)
        if self.global_batch % self.workers:
            raise DataError(
                f"global_batch: {self.global_batch} cannot be divided over {self.workers} workers;"
                f" choose a multiple of {self.workers}"
            )

    @property
    def local_batch(self) -> int:
        """Examples of this worker in a step."""
        return self.global_batch // self.workers

    def indices(self, step: int) -> tuple[int, np.ndarray]:
        """Return the epoch of a global step (from 0) and the examples, int64 (local_batch,), that this worker reads."""
        epoch, batch = divmod(step, steps_per_epoch(self.examples, self.global_batch))
        first = batch * self.global_batch + self.rank * self.local_batch
        return epoch, epoch_order(self.examples, self.seed, epoch)[first : first + self.local_batch]
