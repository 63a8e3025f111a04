"""Validation: every example of every worker, each counted once, with statistics that all workers share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from benchmarks.architecture import Architecture
from benchmarks.data.batch import Batch
from benchmarks.data.dataset import Dataset
from benchmarks.data.progress import Say, unheard
from benchmarks.objectives import reference
from benchmarks.objectives.trivial import Trivial, trivial
from horovod_runner.config.schema import RunConfig
from horovod_runner.errors import SharedError
from horovod_runner.frameworks.base import Backend
from horovod_runner.machine.world import World
from horovod_runner.training.job import Prepared


class Predictions(NamedTuple):
    """The class of each row of this worker's part of the validation data, and what it was taken for.

    int64 (rows,), as many rows on every worker; -1 in a row that is padding, or could not be read.
    """

    targets: np.ndarray
    predicted: np.ndarray


class Validation(NamedTuple):
    """What a validation found, on all workers alike; and, in classification, this worker's predictions.

    `trivial`: what the metric is to be held against.
    """

    loss: float
    metric: float
    predictions: Predictions | None = None
    trivial: Trivial | None = None


def validate(
    backend: Backend, prepared: Prepared, world: World, epoch: int = 0, on_broken: Say = unheard
) -> Validation:
    """Validate the model as it stands in this epoch, counted from 0.

    `on_broken` is told of each example that this worker leaves out.
    """
    synchronise_state(backend, prepared.architecture, world)
    with statistics_to_validate_with(backend, prepared, world, epoch, on_broken):
        return _figures(backend, prepared.validation_batches(world, on_broken), prepared.config, prepared.data)


@contextlib.contextmanager
def statistics_to_validate_with(
    backend: Backend, prepared: Prepared, world: World, epoch: int = 0, on_broken: Say = unheard
) -> Iterator[None]:
    """Have the model normalise by the statistics that the run is validated with; afterwards all is as it was.

    Precise ones (pycls has the name) are means over training batches of the statistics that each has under today's
    weights; running ones lag behind by some twenty steps. Training goes on with the running ones, and saves them.
    """
    names = [array.name for array in prepared.architecture.statistics]
    if prepared.config.validation_statistics == "running" or not names:
        yield
        return
    running, taken = backend.state_of(names), 0
    for batch in prepared.precise_batches(world, epoch, on_broken):
        taken = backend.take_statistics(batch, taken)
    share_statistics(backend, prepared.architecture, world.size, taken)
    yield
    backend.load_state(running)


def synchronise_state(backend: Backend, architecture: Architecture, world: World) -> None:
    """Bring all workers to one state: what a step left under way is finished, and running statistics are shared."""
    backend.flush()
    share_statistics(backend, architecture, world.size)


def share_statistics(backend: Backend, architecture: Architecture, workers: int, weight: float = 1.0) -> None:
    """Give every worker the mean of all workers' running statistics, in which this worker's have this weight.

    The update of a running mean is linear, so averaging early or late comes to the same: a run may do so whenever it
    likes. Where nothing weighs anything, all is left as it is.
    """
    names = [array.name for array in architecture.statistics]
    if workers == 1 or not names:
        return
    state = backend.state_of(names)
    own = np.concatenate([state[name].ravel() for name in names]).astype(np.float64)
    total = backend.mean_over_ranks(np.append(weight * own, weight))
    if not total[-1]:
        return
    mean = total[:-1] / total[-1]
    ends = np.cumsum([state[name].size for name in names])[:-1]
    parts = np.split(mean, ends)
    backend.load_state({name: part.reshape(state[name].shape) for name, part in zip(names, parts, strict=True)})


def _figures(backend: Backend, batches: Iterator[Batch], config: RunConfig, data: Dataset) -> Validation:
    """Return the means over the examples of all workers."""
    task = config.job.task
    total, predicted = reference.empty_sums(task, data.classes), []
    for batch in batches:
        logits = backend.evaluate(batch)
        total = total + reference.sums(task, logits, batch.targets, batch.weights, config.loss)
        if task == "classification":
            found = np.stack([batch.targets, logits.argmax(axis=-1)])
            predicted.append(np.where(batch.weights > 0, found, -1))
    whole = backend.mean_over_ranks(total) * config.workers
    if not reference.examples(whole):
        raise SharedError(
            "validation: nothing counts, for not one image of val/ could be read, or every pixel of its masks is void;"
            " fix val/"
        )
    loss, _, metric = reference.figures(task, whole)
    kept = Predictions(*np.concatenate(predicted, axis=1)) if predicted else None
    return Validation(loss, metric, kept, trivial(task, data.trivial, whole))
