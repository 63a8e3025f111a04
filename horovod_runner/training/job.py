"""A run, prepared: from its description to all that its training needs.

Preparing reads the data's place and nothing else: no file is written, no clock is read, no framework is imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.architecture import Architecture, Arrays, draw_initial
from benchmarks.data import open_dataset
from benchmarks.data.batch import Batch
from benchmarks.data.dataset import Dataset
from benchmarks.data.order import steps_per_epoch
from benchmarks.data.pipeline import TrainBatches, validation_batches
from benchmarks.data.progress import Say, unheard
from benchmarks.objectives import reference
from horovod_runner.config.schema import RunConfig
from horovod_runner.machine.limits import core_count
from horovod_runner.machine.world import World
from horovod_runner.results.checkpoint import Shapes
from horovod_runner.training.plan import Plan, plan_of
from horovod_runner.training.state import expected_shapes


@dataclass(frozen=True)
class Prepared:
    """What follows from a run's description: its data, its model, and what is done at which step."""

    config: RunConfig
    data: Dataset
    architecture: Architecture
    plan: Plan

    def _decoding_processes(self, world: World) -> int:
        """Return how many processes decode for a worker: as set, or its share of the cores."""
        share = max(1, core_count() // world.local_size)
        return share if self.config.data.processes is None else self.config.data.processes

    @property
    def metric(self) -> str:
        """The name of the validation metric."""
        return reference.METRICS[self.config.job.task]

    @property
    def shapes(self) -> Shapes:
        """The name and shape of every array of the run's state."""
        return expected_shapes(self.architecture, self.config)

    def first_weights(self) -> Arrays:
        """Return the weights and running statistics that the run begins with."""
        return draw_initial(self.architecture.arrays, self.config.seed)

    def train_batches(self, world: World, on_broken: Say = unheard, *, augmented: bool = True) -> TrainBatches:
        """Return a worker's part of the training data; `on_broken` is told of each example that is left out."""
        config = self.config
        return TrainBatches(
            self.data,
            global_batch=config.global_batch or 0,
            rank=world.rank,
            workers=world.size,
            seed=config.seed,
            processes=self._decoding_processes(world),
            broken=config.data.broken,
            local_workers=world.local_size,
            on_broken=on_broken,
            augmented=augmented,
        )

    def precise_batches(self, world: World, epoch: int, on_broken: Say = unheard) -> Iterator[Batch]:
        """Yield a worker's part of an epoch's first batches, as they look in evaluation, for precise statistics.

        As many whole global batches as hold `precise_examples`, and at most the epoch's.
        """
        epoch_steps, size = self.plan.steps_per_epoch, self.config.global_batch or 1
        first, count = epoch * epoch_steps, min(epoch_steps, -(-self.config.precise_examples // size))
        with self.train_batches(world, on_broken, augmented=False) as batches:
            yield from batches.iterate(first, first + count)

    def validation_batches(self, world: World, on_broken: Say = unheard) -> Iterator[Batch]:
        """Yield a worker's part of the validation data; `on_broken` is told of each example that is left out."""
        config = self.config
        return validation_batches(
            self.data.validation,
            local_batch=config.local_batch or 1,
            rank=world.rank,
            workers=world.size,
            processes=self._decoding_processes(world),
            broken=config.data.broken,
            local_workers=world.local_size,
            on_broken=on_broken,
        )


def prepare(config: RunConfig, say: Say = unheard) -> Prepared:
    """Return a run with all that follows from its description; DataError says what is wrong with its data.

    `say` is told how far it has come with data that take long to list.
    """
    data = open_dataset(config.data, config.job.task, config.seed, say)
    plan = plan_of(config, steps_per_epoch(len(data.train), config.global_batch or 0))
    return Prepared(config, data, _architecture(config, data), plan)


def _architecture(config: RunConfig, data: Dataset) -> Architecture:
    architecture = config.job.architecture(
        width=config.width or 0,
        channels=data.channels,
        classes=data.classes,
        image_size=data.image_size,
        **config.options,
    )
    return architecture.with_identity_residuals() if config.zero_init_last_gamma else architecture
