"""TensorFlow's gradients reduced by Horovod inside the graph of the step; `STRATEGIES` is the table of the strategies.

In a graph an operation runs as soon as its inputs are there: what is handed over as it appears, and what the forward
pass waits for, follows from that alone. Horovod's own tape and optimizer wrappers fail on Keras 3's variables, so the
collectives are called directly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import horovod.tensorflow as hvd
import numpy as np
import tensorflow as tf

from horovod_runner.allreduce.horovod import HorovodGroup
from horovod_runner.allreduce.settings import shard
from horovod_runner.config.schema import RunConfig
from horovod_runner.config.settings import AllreduceConfig
from horovod_runner.frameworks.tensorflow.graphs import graph
from horovod_runner.frameworks.tensorflow.reducer import Reducer

OPERATIONS = {"average": hvd.Average, "sum": hvd.Sum, "adasum": hvd.Adasum}


class JoinedGroup(HorovodGroup):
    """All workers, met through Horovod, with TensorFlow's tensors."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config, hvd, tf.constant)

    def mean_in_step(self, vector: tf.Tensor, name: str) -> tf.Tensor:
        """Return the element-wise mean of a small tensor over workers, for layers that need it amid a step."""
        return hvd.allreduce(vector, name=plain(name), op=hvd.Average)


def plain(name: str) -> str:
    """Return a name that Horovod leaves as it is."""
    return name.replace("/", ".")


class Exchange:
    """How tensors travel: as what, and what becomes of all workers' together."""

    def __init__(self, how: AllreduceConfig) -> None:
        self.operation = OPERATIONS[how.operation]
        self._averages = how.operation == "average"
        self._compression = how.compression

    def one(self, tensor: tf.Tensor, name: str) -> tf.Tensor:
        """Return all workers' tensors as one."""
        if self._compression == "bf16":
            return self._added_up(hvd.allgather(_as_bits(tensor), name=plain(name)), tensor)
        wire = tf.cast(tensor, tf.float16) if self._compression == "fp16" else tensor
        return tf.cast(hvd.allreduce(wire, name=plain(name), op=self.operation), tensor.dtype)

    def group(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Return the same of many tensors, negotiated as one."""
        if self._compression == "bf16":
            gathered = hvd.grouped_allgather([_as_bits(tensor) for tensor in tensors], name="gradients")
            return [self._added_up(rows, tensor) for rows, tensor in zip(gathered, tensors, strict=True)]
        wires = [tf.cast(t, tf.float16) for t in tensors] if self._compression == "fp16" else list(tensors)
        reduced = hvd.grouped_allreduce(wires, op=self.operation)
        return [tf.cast(r, t.dtype) for r, t in zip(reduced, tensors, strict=True)]

    def _added_up(self, rows: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
        """Add bfloat16 up in full precision, for Horovod 0.28 cannot; see torch_horovod.Exchange on the traffic."""
        values = tf.cast(tf.bitcast(rows, tf.bfloat16), like.dtype)
        whole = tf.reduce_mean(values, axis=0) if self._averages else tf.reduce_sum(values, axis=0)
        return tf.ensure_shape(whole, like.shape)


def _as_bits(tensor: tf.Tensor) -> tf.Tensor:
    return tf.bitcast(tf.cast(tensor, tf.bfloat16), tf.int16)[None]


class AsTheyAppear(Reducer):
    """Each gradient is handed over as soon as it exists, amid the backward pass; Horovod may fuse what waits."""

    def __init__(self, variables: Mapping[str, tf.Variable], group: JoinedGroup, how: AllreduceConfig) -> None:
        super().__init__(variables)
        self._exchange = Exchange(how)

    def reduce(self, gradients: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
        """Return all workers' gradients."""
        return [self._exchange.one(g, name) for name, g in zip(self.variables, gradients, strict=True)]


class Grouped(AsTheyAppear):
    """All gradients at once, when the last one exists: Horovod negotiates once, and copies all into one buffer."""

    def reduce(self, gradients: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
        """Return all workers' gradients."""
        return self._exchange.group(gradients)


class Lagged(AsTheyAppear):
    """The gradients of the step before are applied, and travel meanwhile (Kurth et al., SC18); zeros before the first.

    What is kept is this worker's own gradients: they are handed over when the next step begins, and nothing in that
    graph waits for them before the update.
    """

    def __init__(self, variables: Mapping[str, tf.Variable], group: JoinedGroup, how: AllreduceConfig) -> None:
        super().__init__(variables, group, how)
        self._pending = {
            name: tf.Variable(tf.zeros_like(v), trainable=False, name=f"pending/{name}")
            for name, v in variables.items()
        }
        self._flush = graph(self._reduce_pending)

    def reduce(self, gradients: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
        """Return all workers' gradients of the step before, and keep these."""
        before = super().reduce([pending.read_value() for pending in self._pending.values()])
        for pending, gradient in zip(self._pending.values(), gradients, strict=True):
            pending.assign(gradient)
        return before

    def _reduce_pending(self) -> None:
        reduced = super().reduce([pending.read_value() for pending in self._pending.values()])
        for pending, gradient in zip(self._pending.values(), reduced, strict=True):
            pending.assign(gradient)

    def flush(self) -> None:
        """Reduce what is to be applied next; reduced once more, among equals, it stays what it is."""
        self._flush()

    def state(self) -> dict[str, tf.Variable]:
        """Return the gradients to be applied next."""
        return {f"pending/{name}": variable for name, variable in self._pending.items()}


class MultiStep(Reducer):
    """Reduce-scatter as gradients appear, update of this worker's shards, all-gather under the next forward pass.

    The next forward pass waits for the parameters of each layer where it needs them (Lee et al., SC18). The optimizer
    knows nothing but shards, and so holds 1/N of the slots.
    """

    sharded = True

    def __init__(self, variables: Mapping[str, tf.Variable], group: JoinedGroup, how: AllreduceConfig) -> None:
        super().__init__(variables)
        self._operation = OPERATIONS[how.operation]
        self._slices = {name: shard(int(np.prod(v.shape)), hvd.rank(), hvd.size()) for name, v in variables.items()}
        self._shards = {
            name: tf.Variable(self._own(name, v.numpy()), trainable=False, name=f"shard/{name}")
            for name, v in variables.items()
        }
        self.updated = self._shards
        self._flush = graph(self.begin)

    def begin(self) -> None:
        """Gather the parameters, each before the layer that reads it."""
        for name, variable in self.variables.items():
            gathered = hvd.allgather(self._shards[name].read_value(), name=plain(f"whole.{name}"))
            variable.assign(tf.reshape(gathered, variable.shape))

    def reduce(self, gradients: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
        """Return this worker's shards of all workers' gradients."""
        scattered = [
            hvd.reducescatter(tf.reshape(g, [-1]), name=plain(name), op=self._operation)
            for name, g in zip(self.variables, gradients, strict=True)
        ]
        return [tf.ensure_shape(g, self._shards[n].shape) for n, g in zip(self.variables, scattered, strict=True)]

    def flush(self) -> None:
        """Gather the parameters."""
        self._flush()

    def gather(self, name: str, variable: tf.Variable) -> np.ndarray:
        """Return a slot as all workers' shards of it together."""
        of = name.partition("/")[2]
        if of not in self._shards:
            return super().gather(name, variable)
        gathered: np.ndarray = hvd.allgather(variable.read_value(), name=plain(f"whole.{name}")).numpy()
        return gathered.reshape(self.variables[of].shape)

    def shard(self, name: str, variable: tf.Variable, value: np.ndarray) -> None:
        """Keep this worker's shard of a slot, and of a parameter besides the whole."""
        of = name.partition("/")[2]
        if of in self._shards:
            variable.assign(self._own(of, value))
            return
        variable.assign(value)
        if name in self._shards:
            self._shards[name].assign(self._own(name, value))

    def _own(self, name: str, value: np.ndarray) -> np.ndarray:
        return value.reshape(-1)[self._slices[name]]


STRATEGIES = {
    "unfused": AsTheyAppear,
    "fused": AsTheyAppear,
    "grouped": Grouped,
    "multistep": MultiStep,
    "lag1": Lagged,
}
