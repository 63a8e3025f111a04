"""How much a worker's micro-batches count in the global batch, where some of them hold less than others.

An example that cannot be read is missing from its batch, and a pixel that is void from its example. The loss of a
global batch is the mean over all that is there, so a worker's mean counts by what is behind it. Where batches cannot
differ, nothing is exchanged and nothing is multiplied.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from benchmarks.architecture import Architecture
from benchmarks.data.batch import Batch
from benchmarks.objectives.reference import example_weights
from horovod_runner.config.schema import RunConfig
from horovod_runner.errors import SharedError, UserError

Gather = Callable[[np.ndarray], np.ndarray]


class MicroBatch(NamedTuple):
    """A micro-batch as a step trains on it: the examples that count, or one blank row where `examples` is 0.

    Its mean loss by `weights` (examples,) times `share`, averaged over a worker's micro-batches and over all workers,
    is the loss of the global batch; `share` is 1 where all are alike. It is the step's `number`-th that holds examples.
    """

    batch: Batch
    weights: np.ndarray
    number: int
    examples: int
    share: float = 1.0


class StepBatches(NamedTuple):
    """A worker's micro-batches of one step, how many of them hold examples, and the mean of all workers' examples."""

    micro_batches: list[MicroBatch]
    counted: int
    mean_examples: float


@dataclass(frozen=True)
class Weighting:
    """Divides this worker's batches into micro-batches; all workers do it together.

    `fewest` examples normalised together are as few as batch normalisation can do with: all workers' where it is
    `synchronised`, and otherwise a micro-batch's.
    """

    micro_batches: int
    uneven: bool
    gather: Gather
    fewest: int = 1
    synchronised: bool = False

    def __call__(self, batch: Batch) -> StepBatches:
        """Return the micro-batches of a step; SharedError where the global batch has not one example left."""
        parts = batch.split(self.micro_batches)
        if not self.uneven:
            alike = [MicroBatch(part, part.weights, number, len(part)) for number, part in enumerate(parts)]
            return StepBatches(alike, self.micro_batches, float(len(batch)))
        return self._weighed([part.counted() for part in parts], len(batch))

    def _weighed(self, parts: list[Batch], size: int) -> StepBatches:
        weights = [example_weights(part.targets, part.weights) for part in parts]
        examples = [int(np.count_nonzero(part.weights)) for part in parts]
        own = np.array([sum(examples), sum(float(w.sum()) for w in weights)])
        everyone = self.gather(own)
        workers, (all_examples, all_weights) = len(everyone), everyone.sum(axis=0)
        if not all_examples:
            raise SharedError(
                f"not one image of a batch of {workers * size} could be read, so nothing is left to train on; see that"
                " data.path holds images that can be read"
            )
        self._require_enough([int(all_examples)] if self.synchronised else [n for n in examples if n])
        numbers = np.cumsum([0, *(n > 0 for n in examples)])
        # Multiplied first and divided then: equal weights make exactly 1. Nothing but void weighs, and costs, nothing.
        whole = all_weights or 1.0
        weighed = [
            MicroBatch(part, w, int(number), n, float(w.sum()) * workers * self.micro_batches / whole)
            for part, w, n, number in zip(parts, weights, examples, numbers[:-1], strict=True)
        ]
        return StepBatches(weighed, int(numbers[-1]), float(all_examples / workers))

    def _require_enough(self, together: list[int]) -> None:
        if min(together, default=self.fewest) < self.fewest:
            raise UserError(
                f"only {min(together)} example of a batch could be read, and batch normalisation needs more than one"
                " value a channel; raise local_batch or data.image_size, or mend the folder"
            )


def weighting(config: RunConfig, gather: Gather, architecture: Architecture) -> Weighting:
    """Return the weighting of a run; workers that do not reduce train each by themselves, on means of their own."""
    own = (lambda vector: vector[None]) if config.transport is None else gather
    fewest = 2 if architecture.normalises and architecture.minimum_values_per_channel < 2 else 1
    return Weighting(config.micro_batches, config.uneven, own, fewest, config.batch_norm == "synchronised")
