"""PyTorch's gradients reduced by Horovod, strategy by strategy; `STRATEGIES` is the table of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import horovod.torch as hvd
import torch

from horovod_runner.allreduce.horovod import HorovodGroup
from horovod_runner.allreduce.settings import shard
from horovod_runner.config.schema import RunConfig
from horovod_runner.config.settings import AllreduceConfig
from horovod_runner.frameworks.torch.reducer import Reducer, memory_of

Finish = Callable[[], Any]
OPERATIONS = {"average": hvd.Average, "sum": hvd.Sum, "adasum": hvd.Adasum}


class JoinedGroup(HorovodGroup):
    """All workers, met through Horovod, with PyTorch's tensors."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config, hvd, torch.tensor)

    def mean_in_step(self, vector: torch.Tensor, name: str) -> torch.Tensor:
        """Return the element-wise mean of a small tensor over workers, for layers that need it amid a step."""
        # In place: the differentiable form copies, and its latency counts a hundred times a step.
        reduced: torch.Tensor = hvd.allreduce_(vector, name=name, op=hvd.Average)
        return reduced


class Exchange:
    """How vectors travel: as what, and what becomes of all workers' together. Each start returns what finishes it."""

    def __init__(self, how: AllreduceConfig) -> None:
        self._operation = OPERATIONS[how.operation]
        self._averages = how.operation == "average"
        self.start = {"none": self._as_it_is, "fp16": self._as_half, "bf16": self._as_bfloat}[how.compression]

    def _as_it_is(self, vectors: Sequence[torch.Tensor], name: str) -> Finish:
        return partial(hvd.synchronize, self._allreduce(vectors, name))

    def _as_half(self, vectors: Sequence[torch.Tensor], name: str) -> Finish:
        wires = [vector.half() for vector in vectors]
        handle = self._allreduce(wires, name)

        def finish() -> None:
            hvd.synchronize(handle)
            torch._foreach_copy_(list(vectors), wires)

        return finish

    def _as_bfloat(self, vectors: Sequence[torch.Tensor], name: str) -> Finish:
        """Gather and add up in full precision: Horovod 0.28 cannot add bfloat16.

        That is half of float32's traffic for two workers, as much for four, and more beyond.
        """
        wires = [vector.bfloat16().view(torch.int16)[None, :] for vector in vectors]
        single = len(wires) == 1
        start, sent = (hvd.allgather_async, wires[0]) if single else (hvd.grouped_allgather_async, wires)
        handle = start(sent, name=name)

        def finish() -> None:
            arrived = hvd.synchronize(handle)
            for vector, rows in zip(vectors, [arrived] if single else arrived, strict=True):
                torch.sum(rows.view(torch.bfloat16), dim=0, dtype=vector.dtype, out=vector)
                if self._averages:
                    vector.div_(len(rows))

        return finish

    def _allreduce(self, vectors: Sequence[torch.Tensor], name: str) -> Any:
        if len(vectors) == 1:
            return hvd.allreduce_async_(vectors[0], name=name, op=self._operation)
        return hvd.grouped_allreduce_async_(list(vectors), name=name, op=self._operation)


class AsTheyAppear(Reducer):
    """Each gradient is handed over as soon as it exists, while the backward pass goes on; Horovod may fuse what waits.

    A backward pass while not `armed` only adds to the gradients.
    """

    def __init__(self, model: torch.nn.Module, group: JoinedGroup, how: AllreduceConfig) -> None:
        super().__init__(model)
        self._exchange = Exchange(how)
        self._started: list[Finish] = []
        for name, parameter in self.parameters.items():
            parameter.register_post_accumulate_grad_hook(partial(self._appeared, name))

    def _appeared(self, name: str, parameter: torch.Tensor) -> None:
        if not self.armed:
            return
        if not self._started:
            self.ready_at = time.perf_counter()
        assert parameter.grad is not None
        self._started.append(self._start(name, memory_of(parameter.grad)))

    def _start(self, name: str, gradient: torch.Tensor) -> Finish:
        return self._exchange.start([gradient], name)

    def finish(self) -> None:
        """Wait until every gradient is reduced."""
        for finish in self._started:
            finish()
        self._started.clear()


class Grouped(Reducer):
    """All gradients at once, after the backward pass: Horovod negotiates once, and copies all into one buffer."""

    def __init__(self, model: torch.nn.Module, group: JoinedGroup, how: AllreduceConfig) -> None:
        super().__init__(model)
        self._exchange = Exchange(how)

    def finish(self) -> None:
        """Reduce the group, and wait for it."""
        self.ready_at = time.perf_counter()
        gradients = [memory_of(p.grad) for p in self.parameters.values() if p.grad is not None]
        self._exchange.start(gradients, "gradients")()


class Lagged(AsTheyAppear):
    """The gradients of the step before are applied, and travel meanwhile (Kurth et al., SC18); first come zeros."""

    def __init__(self, model: torch.nn.Module, group: JoinedGroup, how: AllreduceConfig) -> None:
        super().__init__(model, group, how)
        self._pending = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        self._travelling: list[Finish] = []
        self._turn = 0

    def _start(self, name: str, gradient: torch.Tensor) -> Finish:
        """Start under a name that the gradient of the step before, which may be under way, does not have."""
        return super()._start(f"{name}.{self._turn}", gradient)

    def finish(self) -> None:
        """Wait for the last step's gradients, and keep this step's for the next."""
        self.flush()
        self._turn = 1 - self._turn
        self._travelling, self._started = self._started, []
        for name, parameter in self.parameters.items():
            assert parameter.grad is not None
            self._pending[name], parameter.grad = parameter.grad, self._pending[name]

    def flush(self) -> None:
        """Wait until the gradients that are to be applied next have arrived."""
        for finish in self._travelling:
            finish()
        self._travelling.clear()

    def state(self) -> dict[str, torch.Tensor]:
        """Return the gradients to be applied next."""
        return {f"pending/{name}": gradient for name, gradient in self._pending.items()}


class MultiStep(AsTheyAppear):
    """Reduce-scatter as gradients appear, update of this worker's shards, all-gather under the next forward pass.

    The next forward pass waits for the parameters of each layer where it needs them (Lee et al., SC18). A shard is a
    part of a parameter's memory; the optimizer knows nothing but shards, and so holds 1/N of the slots.
    """

    sharded = True

    def __init__(self, model: torch.nn.Module, group: JoinedGroup, how: AllreduceConfig) -> None:
        super().__init__(model, group, how)
        self._operation = OPERATIONS[how.operation]
        self._shards = {name: shard(p.numel(), hvd.rank(), hvd.size()) for name, p in self.parameters.items()}
        self.updated = {name: memory_of(p.detach())[self._shards[name]] for name, p in self.parameters.items()}
        self._arriving: dict[str, Any] = {}
        for prefix, module in model.named_modules():
            names = [f"{prefix}.{name}".lstrip(".") for name, _ in module.named_parameters(recurse=False)]
            if names:
                module.register_forward_pre_hook(partial(self._before_layer, names))

    def _start(self, name: str, gradient: torch.Tensor) -> Finish:
        handle = hvd.reducescatter_async(gradient, name=name, op=self._operation)

        def finish() -> None:
            self.updated[name].grad = hvd.synchronize(handle)
            self.parameters[name].grad = None  # was sent, and its memory serves what arrives

        return finish

    def publish(self) -> None:
        """Start to gather the parameters, those of the first layers first."""
        for name, own in self.updated.items():
            own.grad = None
            self._arriving[name] = hvd.allgather_async(own, name=f"whole.{name}")

    def _before_layer(self, names: Sequence[str], *_: Any) -> None:
        for name in names:
            if name in self._arriving:
                arrived = hvd.synchronize(self._arriving.pop(name))
                memory_of(self.parameters[name].detach()).copy_(arrived)

    def flush(self) -> None:
        """Wait for all parameters."""
        self._before_layer(list(self._arriving))

    def gather(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Return a slot as all workers' shards of it together."""
        parameter = self.parameters.get(name.partition("/")[2])
        if parameter is None:
            return tensor
        gathered = torch.empty_like(parameter)
        memory_of(gathered).copy_(hvd.allgather(tensor, name=f"whole.{name}"))
        return gathered

    def shard(self, name: str, tensor: torch.Tensor, value: torch.Tensor) -> None:
        """Keep this worker's shard of a slot."""
        slot_of = name.partition("/")[2]
        if slot_of in self.parameters:
            laid_out = torch.empty_like(self.parameters[slot_of]).copy_(value)
            tensor.copy_(memory_of(laid_out)[self._shards[slot_of]])
        else:
            tensor.copy_(value)


STRATEGIES = {
    "unfused": AsTheyAppear,
    "fused": AsTheyAppear,
    "grouped": Grouped,
    "multistep": MultiStep,
    "lag1": Lagged,
}
