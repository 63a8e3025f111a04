"""One side of a comparison: a job in one framework, in this process, trained through the code of every run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.architecture import Architecture, Arrays, draw_initial
from benchmarks.data.batch import Batch
from benchmarks.data.dataset import Split
from benchmarks.data.pipeline import batch_fingerprint
from horovod_runner.config.frameworks import PAIR
from horovod_runner.config.schema import RunConfig, decode
from horovod_runner.machine.world import World
from horovod_runner.results.store import RunFolder
from horovod_runner.training.job import prepare
from horovod_runner.training.join import join
from horovod_runner.training.schedule import Schedule
from horovod_runner.training.validation import Validation, statistics_to_validate_with, validate

Change = Callable[[int, Batch], Batch]


@dataclass(frozen=True)
class Trajectory:
    """What training left: the loss of every step, the batches' fingerprints, the last state, and what was validated.

    `validated` holds the loss and the metric of each validation in turn.
    """

    losses: tuple[float, ...]
    fingerprints: tuple[int, ...]
    state: Arrays
    validated: tuple[float, ...] = ()


class Side:
    """A backend with its data; `restart` puts it back to the beginning of a run, so that a graph is traced once."""

    def __init__(self, framework: str, plain: Mapping[str, Any]) -> None:
        self.config: RunConfig = decode({**plain, "framework": framework}, "parity")
        self._folder = tempfile.TemporaryDirectory()
        self._prepared = prepare(self.config)
        self.backend = join(self._prepared, RunFolder(Path(self._folder.name)), World()).backend

    @property
    def architecture(self) -> Architecture:
        """The model's description."""
        return self._prepared.architecture

    @property
    def schedule(self) -> Schedule:
        """The learning rate of every step."""
        return self._prepared.plan.schedule

    def batches(self, steps: int) -> Iterator[Batch]:
        """Yield the first batches of the run."""
        with self._prepared.train_batches(World()) as batches:
            yield from batches.iterate(0, steps)

    def first_batch(self) -> Batch:
        """Return the first batch of the run."""
        return next(self.batches(1))

    def restart(self, seed: int | None = None) -> None:
        """Begin anew: first weights of this seed (None: the run's), no optimizer state, the seed's order of data."""
        config = self.config if seed is None else self.config.model_copy(update={"seed": seed})
        if config.seed != self._prepared.config.seed:
            self._prepared = prepare(config)
        first = self._prepared.first_weights()
        own = self.backend.state_of([name for name in self._prepared.shapes if name not in first])
        self.backend.load_state({**{name: np.zeros_like(array) for name, array in own.items()}, **first})

    def train(self, steps: int, change: Change = lambda step, batch: batch) -> Trajectory:
        """Make so many steps of the run from where the model stands; `change` may alter a step's batch (from 0)."""
        schedule = self.schedule
        losses, fingerprints = [], []
        for step, given in enumerate(self.batches(steps)):
            batch = change(step, given)
            fingerprints.append(batch_fingerprint(batch, 0))
            losses.append(self.backend.step(batch, schedule(step)))
        return Trajectory(tuple(losses), tuple(fingerprints), self.backend.state())

    @property
    def validation_split(self) -> Split:
        """The validation examples, one by one."""
        return self._prepared.data.validation

    def evaluate(self, images: np.ndarray, at_once: int = 8) -> np.ndarray:
        """Return the logits of many images, evaluated a few at a time."""
        parts = [images[start : start + at_once] for start in range(0, len(images), at_once)]
        return np.concatenate([self.backend.evaluate(_without_targets(part)) for part in parts])

    def statistics_to_validate_with(self) -> Arrays:
        """Return the statistics of normalisation that `validate` evaluates with."""
        with statistics_to_validate_with(self.backend, self._prepared, World()):
            return self.backend.state_of([array.name for array in self.architecture.statistics])

    def validate(self) -> Validation:
        """Return loss and metric over the validation examples."""
        return validate(self.backend, self._prepared, World())


def _without_targets(images: np.ndarray) -> Batch:
    return Batch(images, np.zeros(len(images), np.int32), np.ones(len(images), np.float32))


Pair = tuple[Side, Side]


def both(plain: Mapping[str, Any]) -> Pair:
    """Return the job in both frameworks."""
    first, second = PAIR
    return Side(first, plain), Side(second, plain)


def moved(architecture: Architecture, seed: int = 0) -> Arrays:
    """Return first values with their constants moved: with biases 0 and weights 1 a swap of two would go unnoticed."""
    generator = np.random.default_rng(3)
    arrays = draw_initial(architecture.arrays, seed)
    for spec in architecture.arrays:
        if spec.kind == "running_var":
            arrays[spec.name] = generator.uniform(0.5, 1.5, spec.shape)
        elif not spec.random:
            arrays[spec.name] = arrays[spec.name] + 0.1 * generator.standard_normal(spec.shape)
    return arrays
