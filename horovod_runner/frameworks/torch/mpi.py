"""PyTorch's gradients reduced by mpi4py, without Horovod in the process."""

from __future__ import annotations

import time

import torch

from horovod_runner.allreduce.mpi import MpiGroup
from horovod_runner.config.settings import AllreduceConfig
from horovod_runner.frameworks.torch.reducer import Reducer, memory_of


class JoinedGroup(MpiGroup):
    """All workers, met through MPI, with PyTorch's tensors."""

    def mean_in_step(self, vector: torch.Tensor, name: str) -> torch.Tensor:
        """Return the element-wise mean of a small tensor over workers; all workers come to it in the same order."""
        self.add_up_tensor(vector)
        return vector.div_(self.size)

    def add_up_tensor(self, vector: torch.Tensor) -> None:
        """Sum a contiguous vector over workers in place; one on a GPU goes through the host's memory."""
        host = vector.cpu()
        self.add_up(host.numpy())
        if host is not vector:
            vector.copy_(host)


class Blocking(Reducer):
    """One allreduce after the backward pass, of each gradient where it lies: to pack them costs more than calls do."""

    def __init__(self, model: torch.nn.Module, group: JoinedGroup, how: AllreduceConfig) -> None:
        super().__init__(model)
        self._group = group
        self._divisor = group.size if how.operation == "average" else 1

    def finish(self) -> None:
        """Sum every gradient over workers, and divide it while it is in the cache."""
        self.ready_at = time.perf_counter()
        for parameter in self.parameters.values():
            assert parameter.grad is not None
            gradient = memory_of(parameter.grad)
            self._group.add_up_tensor(gradient)
            if self._divisor > 1:
                gradient.div_(self._divisor)


STRATEGIES = {"blocking": Blocking}
