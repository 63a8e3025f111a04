"""NumPy behind the seam: gradients by hand, the written definition of the optimizers, one blocking allreduce."""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.architecture import Arrays
from benchmarks.data.batch import Batch
from benchmarks.objectives import reference
from horovod_runner.allreduce.groups import Group, Member
from horovod_runner.allreduce.settings import join
from horovod_runner.config.settings import LossConfig
from horovod_runner.frameworks.base import Job
from horovod_runner.optimizers.rules import apply, decayed_names, initial_state


def create(job: Job) -> ByHand:
    """Join the group of workers, and build the model."""
    group, strategy = join(job.config, job.world, job.rendezvous)
    return ByHand(job, group, None if strategy is None else strategy(group, job.config.allreduce))


class ByHand(Member):
    """One worker's model, optimizer and reduction."""

    def __init__(self, job: Job, group: Group, reducer: Any) -> None:
        super().__init__(group)
        self._config, self._reducer = job.config, reducer
        self._dtype = np.dtype(job.config.precision)
        builder = importlib.import_module(job.config.job.builder(job.config.framework))
        self._model = builder.build(job.architecture)
        self._decayed = decayed_names(job.architecture.trainable, job.config.optimizer)
        self._weights = {name: array.astype(self._dtype) for name, array in job.initial.items()}
        self._optimizer = initial_state(job.config.optimizer, self._weights)
        self._ready_at: float | None = None

    def step(self, batch: Batch, learning_rate: float) -> float:
        """Train on one batch; return its mean loss before the update."""
        parts = [self._differentiate(part) for part in batch.split(self._config.micro_batches)]
        gradients = {name: np.mean([part[name] for _, part in parts], axis=0) for name in self._weights}
        if self._reducer is not None:
            self._ready_at = time.perf_counter()
            gradients = self._reducer.reduce(gradients)
        self._weights, self._optimizer = apply(
            self._config.optimizer, self._weights, gradients, self._optimizer, self._decayed, learning_rate
        )
        return sum(loss for loss, _ in parts) / len(parts)

    def _differentiate(self, batch: Batch) -> tuple[float, Arrays]:
        logits, layers = self._model.forward(self._weights, batch.images.astype(self._dtype))
        loss = reference.loss("classification", logits, batch.targets, batch.weights, self._config.loss)
        towards = of_logits(logits, batch, self._config.loss).astype(self._dtype)
        return loss, self._model.backward(self._weights, layers, towards)

    def evaluate(self, batch: Batch, *, training: bool = False) -> np.ndarray:
        """Return logits."""
        logits, _ = self._model.forward(self._weights, batch.images.astype(self._dtype))
        return logits

    def take_statistics(self, batch: Batch, behind: int) -> int:
        """There are none to take."""
        return behind + self._config.micro_batches

    def state(self) -> Arrays:
        """Return copies of weights and optimizer state."""
        return {name: array.copy() for name, array in {**self._weights, **self._optimizer}.items()}

    def state_of(self, names: Sequence[str]) -> Arrays:
        """Return copies of these arrays."""
        state = self.state()
        return {name: state[name] for name in names}

    def load_state(self, arrays: Arrays) -> None:
        """Replace what is named."""
        for name, array in arrays.items():
            into = self._weights if name in self._weights else self._optimizer
            into[name] = array.astype(into[name].dtype)

    def flush(self) -> None:
        """Nothing is under way."""

    def ready_at(self) -> float | None:
        """Return when the last step's gradients were handed to the reduction."""
        return self._ready_at

    def squared_norms(self) -> tuple[float, float] | None:
        """Nothing is measured of them."""
        return None

    def synchronize(self) -> None:
        """Nothing to wait for."""


def of_logits(logits: np.ndarray, batch: Batch, settings: LossConfig) -> np.ndarray:
    """Return the derivative of cross-entropy with label smoothing, (batch, classes): softmax less the targets."""
    classes = logits.shape[-1]
    smoothed = np.full(logits.shape, settings.label_smoothing / classes)
    smoothed[np.arange(len(logits)), batch.targets] += 1 - settings.label_smoothing
    share = batch.weights / max(batch.weights.sum(), 1)
    return (np.exp(reference.log_softmax(logits)) - smoothed) * share[:, None]
