"""Reductions of gradients in PyTorch.

A strategy is a class with `finish()`, called between the backward pass and the update; what it starts earlier, it
starts from hooks on the parameters, in the backward pass for which it is `armed`: the last of a step. `STRATEGIES` is
the table of them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import horovod.torch as hvd
import numpy as np
import torch

from horovod_runner.allreduce.settings import horovod_environment
from horovod_runner.config import AllreduceConfig


class Fused:
    """Horovod's asynchronous fusion: each gradient is handed over as soon as it exists; Horovod fuses what waits.

    A backward pass while not `armed` only adds to the gradients.
    """

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        self.armed = True
        self._handles: list[int] = []
        self._names = {parameter: name for name, parameter in parameters.items()}
        for parameter in parameters.values():
            parameter.register_post_accumulate_grad_hook(self._start)

    def _start(self, parameter: torch.Tensor) -> None:
        assert parameter.grad is not None
        if not self.armed:
            return
        name = self._names[parameter]  # type: ignore[index]
        self._handles.append(hvd.allreduce_async_(memory_of(parameter.grad), name=name, op=hvd.Average))

    def finish(self) -> None:
        """Wait until every gradient is the mean over workers."""
        for handle in self._handles:
            hvd.synchronize(handle)
        self._handles.clear()


def memory_of(tensor: torch.Tensor) -> torch.Tensor:
    """Return a dense tensor's memory as a vector that shares it.

    Horovod takes contiguous tensors only, and gradients of convolutions are laid out channels last. All workers run
    the same code, so their layouts agree, and the order of elements matters to no sum.
    """
    return tensor.as_strided((tensor.numel(),), (1,), tensor.storage_offset())


STRATEGIES = {"fused": Fused}


class HorovodGroup:
    """All workers, met through Horovod."""

    def __init__(self, settings: AllreduceConfig) -> None:
        os.environ.update(horovod_environment(settings))
        hvd.init()
        self.size: int = hvd.size()

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Return the element-wise mean of a float64 vector over workers."""
        reduced: np.ndarray = hvd.allreduce(torch.from_numpy(values.copy()), name="mean", op=hvd.Average).numpy()
        return reduced

    def gather(self, values: np.ndarray) -> np.ndarray:
        """Return (workers, length) of a float64 vector."""
        rows: np.ndarray = hvd.allgather(torch.from_numpy(values[None, :].copy()), name="gather").numpy()
        return rows

    def mean_in_step(self, vector: torch.Tensor, name: str) -> torch.Tensor:
        """Return the element-wise mean of a small tensor over workers, for layers that need it amid a step."""
        # In place: the differentiable form copies, and its latency counts a hundred times a step.
        reduced: torch.Tensor = hvd.allreduce_(vector, name=name, op=hvd.Average)
        return reduced

    def close(self) -> None:
        """Leave Horovod in order, so that no worker is taken for dead."""
        hvd.shutdown()
