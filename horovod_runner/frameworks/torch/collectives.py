"""Reducing by Horovod's PyTorch binding, in place: all arrays are handed over, Horovod fuses what waits."""

from __future__ import annotations

from collections.abc import Sequence

import horovod.torch as hvd
import numpy as np
import torch

from horovod_runner.allreduce.algorithms import NCCL, Arrays
from horovod_runner.config.schema import RunConfig
from horovod_runner.frameworks.torch.horovod import JoinedGroup


def join(algorithm: str, config: RunConfig) -> ByTorch:
    """Start Horovod and return this rank; tensors lie on this rank's GPU for NCCL, and in memory for all else."""
    group = JoinedGroup(config)
    return ByTorch(group, torch.device("cuda", hvd.local_rank()) if algorithm == NCCL else torch.device("cpu"))


class ByTorch:
    """Horovod's asynchronous allreduce, and then waiting for all of it."""

    def __init__(self, group: JoinedGroup, device: torch.device) -> None:
        self.group = group
        self._device = device
        self._named: list[tuple[str, torch.Tensor]] = []

    @property
    def contributors(self) -> Sequence[int]:
        """The ranks whose arrays a result is the sum of."""
        return range(self.group.size)

    def load(self, arrays: Arrays, name: str) -> None:
        """Take over what is to be reduced: in the arrays' own memory, or on the GPU."""
        self._named = [(f"{name}.{i}", torch.from_numpy(array).to(self._device)) for i, array in enumerate(arrays)]

    def reduce(self) -> None:
        """Sum over the ranks, in place."""
        handles = [hvd.allreduce_async_(tensor, name=name, op=hvd.Sum) for name, tensor in self._named]
        for handle in handles:
            hvd.synchronize(handle)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def result(self) -> list[np.ndarray]:
        """Return the sums."""
        return [tensor.cpu().numpy() for _, tensor in self._named]
