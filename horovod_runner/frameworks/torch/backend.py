"""PyTorch behind the seam: device, build, step, evaluate, state."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.architecture import Arrays
from benchmarks.data.batch import Batch
from benchmarks.layers.torch import batch_norm as torch_batch_norm
from benchmarks.objectives.torch import loss as objective
from horovod_runner.allreduce.groups import Group, Member
from horovod_runner.allreduce.settings import join
from horovod_runner.frameworks.base import Job
from horovod_runner.frameworks.torch.noise import SquaredNorms
from horovod_runner.frameworks.torch.optimizers import Optimizer
from horovod_runner.frameworks.torch.reducer import Reducer
from horovod_runner.frameworks.weighting import MicroBatch, weighting
from horovod_runner.optimizers.rules import decayed_names

_DTYPES = {"float32": torch.float32, "bfloat16": torch.float32, "float64": torch.float64}


def create(job: Job) -> TorchBackend:
    """Place the threads, join the group of workers, and build the model; the device is this worker's own."""
    torch.set_num_threads(job.threads)
    group, strategy = join(job.config, job.world, job.rendezvous)
    device = torch.device("cuda", job.world.local_rank) if torch.cuda.is_available() else torch.device("cpu")
    return TorchBackend(job, group, strategy, device)


class TorchBackend(Member):
    """One worker's model, optimizer and reduction."""

    def __init__(self, job: Job, group: Group, strategy: Any, device: torch.device) -> None:
        super().__init__(group)
        self._device = device
        self._dtype = _DTYPES[job.config.precision]
        self._mixed = job.config.precision == "bfloat16"
        self._loss = objective(job.config.job.task, job.config.loss, job.config.data.void is not None)
        self._micro_batches = job.config.micro_batches
        self._weighting = weighting(job.config, group.gather, job.architecture)
        self._synchronises = job.config.normalisation.synchronised
        self._current = torch_batch_norm.CurrentMicroBatch()
        self._segments = job.config.job.task == "segmentation"
        self._model = self._build(job)
        self._parameters = dict(self._model.named_parameters())
        self._norms = SquaredNorms(self._parameters.values(), self._micro_batches) if job.config.noise_scale else None
        self._squared_norms: tuple[float, float] | None = None
        self._reducer: Reducer = (
            Reducer(self._model) if strategy is None else strategy(self._model, group, job.config.allreduce)
        )
        if self._norms is not None:
            self._norms.take_share(self._reducer, job.world)
        self._optimizer = self._optimize(job)
        self.load_state(job.initial)

    def _build(self, job: Job) -> torch.nn.Module:
        builder = importlib.import_module(job.config.job.builder("torch"))
        norm = torch_batch_norm.factory(job.config.normalisation, self._current, self._group.mean_in_step)
        model: torch.nn.Module = builder.build(job.architecture, batch_norm=norm)
        # Batches come as NHWC: with this layout they enter as they are, and convolutions on CPUs run faster.
        model = model.to(self._device, self._dtype)
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _optimize(self, job: Job) -> Optimizer:
        decayed = decayed_names(job.architecture.trainable, job.config.optimizer)
        return Optimizer(job.config.optimizer, self._reducer.updated, decayed)

    def step(self, batch: Batch, learning_rate: float) -> float:
        """Train on one batch; return its part of the global batch's loss, before the update."""
        self._model.train()
        for parameter in self._parameters.values():
            parameter.grad = None
        micro_batches, self._current.counted, self._current.mean_examples = self._weighting(batch)
        losses = [self._accumulate(number, micro_batch) for number, micro_batch in enumerate(micro_batches)]
        self._reducer.finish()
        self._squared_norms = None if self._norms is None else self._norms.taken()
        self._optimizer.step(learning_rate)
        self._reducer.publish()
        return sum(float(loss) for loss in losses)

    def _accumulate(self, number: int, micro_batch: MicroBatch) -> torch.Tensor:
        """Add one micro-batch's gradient, by its share and divided by the number of them; return its loss alike."""
        self._current.number, self._current.examples = micro_batch.number, micro_batch.examples
        self._reducer.armed = number == self._micro_batches - 1
        loss = self._mean_loss(micro_batch) / self._micro_batches
        loss = loss if micro_batch.share == 1 else loss * micro_batch.share
        loss.backward()
        return loss.detach()

    def _mean_loss(self, micro_batch: MicroBatch) -> torch.Tensor:
        if not micro_batch.examples and not self._synchronises:
            return self._nothing()
        targets = torch.from_numpy(micro_batch.batch.targets).to(self._device).long()
        weights = torch.from_numpy(micro_batch.weights).to(self._device, self._dtype)
        loss: torch.Tensor = self._loss(self._forward(micro_batch.batch), targets, weights)
        return loss

    def _nothing(self) -> torch.Tensor:
        """Return a loss of 0 whose gradients are zeros: what a worker without an example adds to the others'."""
        self._reducer.flush()  # no forward pass waits for what is in flight
        return torch.stack([(parameter * 0).sum() for parameter in self._parameters.values()]).sum()

    def _forward(self, batch: Batch) -> torch.Tensor:
        images = torch.from_numpy(batch.images).to(self._device, self._dtype).permute(0, 3, 1, 2)
        mixed = torch.autocast(self._device.type, torch.bfloat16) if self._mixed else contextlib.nullcontext()
        with mixed:
            logits = self._model(images)
        return logits.float() if self._mixed else logits

    @torch.no_grad()
    def evaluate(self, batch: Batch, *, training: bool = False) -> np.ndarray:
        """Return logits, channels last."""
        self._model.train(training)
        logits = self._forward(batch)
        if self._segments:
            logits = logits.permute(0, 2, 3, 1)
        return logits.cpu().numpy()

    @torch.no_grad()
    def take_statistics(self, batch: Batch, behind: int) -> int:
        """Make the running statistics the mean of `behind` micro-batches and of this batch's."""
        self._model.train()
        micro_batches, _, self._current.mean_examples = self._weighting(batch)
        for one in micro_batches:
            if one.examples or self._synchronises:
                behind += 1
                self._current.examples = one.examples
                with torch_batch_norm.taking_in(self._model, self._current, 1 / behind):
                    self._forward(one.batch)
        return behind

    def state(self) -> Arrays:
        """Return copies of everything that training changes."""
        return self.state_of(list(self._tensors()))

    def state_of(self, names: Sequence[str]) -> Arrays:
        """Return copies of these arrays."""
        tensors = self._tensors()
        whole = {name: self._reducer.gather(name, tensors[name]) for name in names}
        return {name: tensor.detach().cpu().numpy().copy(order="C") for name, tensor in whole.items()}

    @torch.no_grad()
    def load_state(self, arrays: Arrays) -> None:
        """Replace what is named; KeyError for a name that the model does not have."""
        tensors = self._tensors()
        for name, array in arrays.items():
            self._reducer.shard(name, tensors[name], torch.from_numpy(np.asarray(array, order="C")))

    def _tensors(self) -> dict[str, torch.Tensor]:
        buffers = {name: b for name, b in self._model.named_buffers() if not name.endswith("num_batches_tracked")}
        return {**self._parameters, **buffers, **self._optimizer.state(), **self._reducer.state()}

    def flush(self) -> None:
        """Finish what the last step left under way between workers."""
        self._reducer.flush()

    def ready_at(self) -> float | None:
        """Return when the last step's first gradient was handed over, by time.perf_counter."""
        return self._reducer.ready_at

    def squared_norms(self) -> tuple[float, float] | None:
        """Return the mean squared norm of this worker's shards, and its share of the average's."""
        return self._squared_norms

    def synchronize(self) -> None:
        """Wait for the device; on CPUs a step is over when it returns."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
