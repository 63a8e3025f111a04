"""TensorFlow behind the seam: device, build, step, evaluate, state.

A step is one graph: forward, backward, reduction and update, traced once for the shape of the run's batch. Gradients
are taken with respect to the `tf.Variable`s under Keras' own, which Horovod understands.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from benchmarks.architecture import Arrays
from benchmarks.data.batch import Batch
from benchmarks.layers.tensorflow import batch_norm as tensorflow_batch_norm
from benchmarks.layers.tensorflow import layers as tensorflow_layers
from benchmarks.layers.tensorflow import other_norms as tensorflow_other_norms
from benchmarks.objectives.tensorflow import loss as objective
from horovod_runner.allreduce.groups import Group, Member
from horovod_runner.allreduce.settings import join, partition
from horovod_runner.frameworks.base import Job
from horovod_runner.frameworks.tensorflow.graphs import graph
from horovod_runner.frameworks.tensorflow.noise import squared
from horovod_runner.frameworks.tensorflow.optimizers import Optimizer
from horovod_runner.frameworks.tensorflow.reducer import Reducer
from horovod_runner.frameworks.weighting import MicroBatch, weighting
from horovod_runner.machine.world import World
from horovod_runner.optimizers.rules import decayed_names

_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float64": "float64"}


def create(job: Job) -> TensorFlowBackend:
    """Place the threads, join the group of workers, and build the model; the device is this worker's own."""
    tf.config.threading.set_intra_op_parallelism_threads(job.threads)
    # Horovod's operations wait for other workers, and with one thread they would block the only one that computes.
    # Without Horovod a second one would compute, and a worker of one thread would take two cores.
    tf.config.threading.set_inter_op_parallelism_threads(2 if job.config.transport == "horovod" else 1)
    _claim_gpu(job.world.local_rank)
    group, strategy = join(job.config, job.world, job.rendezvous)
    return TensorFlowBackend(job, group, strategy)


def _claim_gpu(local_rank: int) -> None:
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if gpus:
        tf.config.set_visible_devices(gpus[local_rank % len(gpus)], "GPU")


class TensorFlowBackend(Member):
    """One worker's model, optimizer and reduction."""

    def __init__(self, job: Job, group: Group, strategy: Callable[..., Reducer] | None) -> None:
        super().__init__(group)
        self._loss = objective(job.config.job.task, job.config.loss, job.config.data.void is not None)
        self._micro_batches = job.config.micro_batches
        self._weighting = weighting(job.config, group.gather, job.architecture)
        self._synchronises = job.config.normalisation.synchronised
        self._current = tensorflow_other_norms.CurrentMicroBatch(self._micro_batches)
        self._model = self._build(job)
        self._kinds = {array.name: array.kind for array in job.architecture.arrays}
        self._names = [array.name for array in job.architecture.trainable]
        self._model_variables = tensorflow_layers.variables_by_name(self._model)
        self._trainable = {name: self._model_variables[name] for name in self._names}
        self._reducer = (
            Reducer(self._trainable) if strategy is None else strategy(self._trainable, group, job.config.allreduce)
        )
        self._reduces = strategy is not None
        self._ready_at: float | None = None
        self._measures_noise = job.config.noise_scale
        self._share = self._share_of_norms(job.world)
        self._squared_norms: tuple[float, float] | None = None
        self._optimizer = self._optimize(job)
        self.load_state(job.initial)
        self._train, self._train_on_nothing = graph(self._train_graph), graph(self._nothing_graph)
        self._begin = graph(self._reducer.begin)
        self._add_micro_batch, self._finish = graph(self._micro_batch_graph), graph(self._finish_graph)
        self._sums = self._zeros() if self._micro_batches > 1 else []
        self._predict = graph(lambda images, training: self._model(images, training=training))
        self._take_in = graph(self._take_in_graph)

    def _build(self, job: Job) -> keras.Model:
        builder = importlib.import_module(job.config.job.builder("tensorflow"))
        norm = tensorflow_other_norms.factory(job.config.normalisation, self._current, self._group.mean_in_step)
        policy = _POLICIES[job.config.precision]
        model: keras.Model = builder.build(job.architecture, dtype_policy=policy, batch_norm=norm)
        self._dtype = tf.as_dtype(model.inputs[0].dtype) if job.config.precision == "float64" else tf.float32
        return model

    def _optimize(self, job: Job) -> Optimizer:
        decayed = decayed_names(job.architecture.trainable, job.config.optimizer)
        return Optimizer(job.config.optimizer, self._reducer.updated, decayed)

    def _train_graph(
        self, images: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor, share: tf.Tensor, learning_rate: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """Return the loss, the squared norm of the gradients, and what `_update` does."""
        self._reducer.begin()
        loss, gradients = self._differentiate(images, targets, weights, share)
        return loss, self._squared(gradients), *self._update(gradients, learning_rate)

    def _nothing_graph(self, zero: tf.Tensor, learning_rate: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Train as `_train_graph` without an example: gradients of zeros are what this worker adds to the others'.

        They are made of the variables: constants of one shape are one to Grappler, which would reduce them once.
        """
        self._reducer.begin()
        variables = [self._trainable[name] for name in self._names]
        gradients = [variable * tf.cast(zero, variable.dtype) for variable in variables]
        return tf.zeros(()), self._squared(gradients), *self._update(gradients, learning_rate)

    def _micro_batch_graph(
        self, images: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor, share: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Add one micro-batch's gradients to the step's; return its loss and their squared norm."""
        loss, gradients = self._differentiate(images, targets, weights, share)
        for total, gradient in zip(self._sums, gradients, strict=True):
            total.assign_add(gradient)
        self._current.number.assign_add(1)
        return loss, self._squared(gradients)

    def _finish_graph(self, learning_rate: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Update by the mean over micro-batches, and clear it for the next step."""
        updated = self._update([total / self._micro_batches for total in self._sums], learning_rate)
        for total in self._sums:
            total.assign(tf.zeros_like(total))
        self._current.number.assign(0)
        return updated

    def _take_in_graph(self, images: tf.Tensor, share: tf.Tensor) -> None:
        with tensorflow_batch_norm.taking_in(self._model, share):
            self._model(images, training=True)

    def _differentiate(
        self, images: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor, share: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        variables = [self._trainable[name] for name in self._names]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            loss = self._loss(self._model(images, training=True), targets, weights)
            loss = loss * tf.cast(share, loss.dtype) if self._weighting.uneven else loss
        return loss, tape.gradient(loss, variables)

    def _update(self, gradients: Sequence[tf.Tensor], learning_rate: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Reduce and apply.

        Return the wall clock's time when the first gradient, the last layer's, was there, and this worker's share of
        the squared norm of the reduced gradients.
        """
        with tf.control_dependencies([gradients[-1]]):
            ready_at = tf.timestamp() if self._reduces else tf.zeros((), tf.float64)
        reduced = self._reducer.reduce(gradients)
        self._optimizer.apply(reduced, learning_rate)
        return ready_at, self._squared([g for name, g in zip(self._names, reduced, strict=True) if name in self._share])

    def _squared(self, gradients: Sequence[tf.Tensor]) -> tf.Tensor:
        return squared(gradients if self._measures_noise else [])

    def _share_of_norms(self, world: World) -> frozenset[str]:
        """Return whose reduced gradients this worker takes the norm of: its shards, or its share of all workers'."""
        sizes = {name: int(np.prod(variable.shape)) for name, variable in self._trainable.items()}
        return frozenset(sizes if self._reducer.sharded else partition(sizes, world.rank, world.size))

    def _zeros(self) -> list[tf.Variable]:
        trainable = (self._trainable[name] for name in self._names)
        return [tf.Variable(tf.zeros_like(v), trainable=False, name=f"sum/{v.name}") for v in trainable]

    def step(self, batch: Batch, learning_rate: float) -> float:
        """Train on one batch; return its part of the global batch's loss, before the update."""
        rate = tf.constant(learning_rate, tf.float64)
        micro_batches = self._weigh(batch)
        if self._micro_batches == 1:
            train = (
                partial(self._train, *self._tensors(micro_batches[0]))
                if micro_batches
                else partial(self._train_on_nothing, tf.zeros(()))
            )
            *told, ready_at, average = train(rate)
            figures = [told]
        else:
            self._begin()
            figures = [self._add_micro_batch(*self._tensors(one)) for one in micro_batches] or [(0.0, 0.0)]
            ready_at, average = self._finish(rate)
        mean, shards = (
            sum(float(figure) for figure in each) / self._micro_batches for each in zip(*figures, strict=True)
        )
        self._squared_norms = (shards, float(average)) if self._measures_noise else None
        self._ready_at = time.perf_counter() - (time.time() - float(ready_at)) if self._reduces else None
        return mean

    def _weigh(self, batch: Batch) -> list[MicroBatch]:
        """Return the micro-batches that are to be trained on; a blank one only where all workers meet in its layers."""
        micro_batches, counted, mean_examples = self._weighting(batch)
        if self._weighting.uneven:
            self._current.counted.assign(counted)
            self._current.examples.assign(sum(one.examples for one in micro_batches))
            self._current.mean_examples.assign(mean_examples)
        return [one for one in micro_batches if one.examples or self._synchronises]

    def _tensors(self, one: MicroBatch) -> tuple[tf.Tensor, ...]:
        """Return images, targets, weights and the share of a micro-batch."""
        images, weights = tf.constant(one.batch.images, self._dtype), tf.constant(one.weights, self._dtype)
        return images, tf.constant(one.batch.targets), weights, tf.constant(one.share, tf.float64)

    def evaluate(self, batch: Batch, *, training: bool = False) -> np.ndarray:
        """Return logits, channels last."""
        logits: np.ndarray = self._predict(tf.constant(batch.images, self._dtype), training).numpy()
        return logits

    def take_statistics(self, batch: Batch, behind: int) -> int:
        """Make the running statistics the mean of `behind` micro-batches and of this batch's."""
        for one in self._weigh(batch):
            behind += 1
            self._take_in(tf.constant(one.batch.images, self._dtype), tf.constant(1 / behind, tf.float64))
        return behind

    def state(self) -> Arrays:
        """Return copies of everything that training changes, in canonical layouts."""
        return self.state_of(list(self._variables()))

    def state_of(self, names: Sequence[str]) -> Arrays:
        """Return copies of these arrays, in canonical layouts."""
        variables = self._variables()
        return {
            name: np.array(
                tensorflow_layers.to_canonical(self._kind(name), self._reducer.gather(name, variables[name])), order="C"
            )
            for name in names
        }

    def load_state(self, arrays: Arrays) -> None:
        """Replace what is named; KeyError for a name that the model does not have."""
        variables = self._variables()
        for name, array in arrays.items():
            value = tensorflow_layers.from_canonical(self._kind(name), array)
            self._reducer.shard(name, variables[name], np.asarray(value, dtype=variables[name].dtype.as_numpy_dtype))

    def _kind(self, name: str) -> str:
        """Return the kind of an array; an optimizer's slot is laid out as its parameter is."""
        return self._kinds.get(name.split("/", 1)[-1], "bias")

    def _variables(self) -> dict[str, tf.Variable]:
        return {**self._model_variables, **self._optimizer.variables(), **self._reducer.state()}

    def flush(self) -> None:
        """Finish what the last step left under way between workers."""
        self._reducer.flush()

    def ready_at(self) -> float | None:
        """Return when the last step's first gradient was there, by time.perf_counter."""
        return self._ready_at

    def squared_norms(self) -> tuple[float, float] | None:
        """Return the mean squared norm of this worker's shards, and its share of the average's."""
        return self._squared_norms

    def synchronize(self) -> None:
        """Nothing to wait for: a step's loss was read, and with it the graph is over."""
