"""Reducing by Horovod's PyTorch binding, in place: all arrays are handed over, Horovod fuses what waits."""

from __future__ import annotations

from collections.abc import Sequence

import horovod.torch as hvd
import numpy as np
import torch

from horovod_runner.collectives.ways import NCCL, Arrays


def join(way: str) -> TorchReducer:
    """Start Horovod and return this rank; tensors lie on this rank's GPU for NCCL, and in memory for all else."""
    hvd.init()
    return TorchReducer(torch.device("cuda", hvd.local_rank()) if way == NCCL else torch.device("cpu"))


class TorchReducer:
    """Horovod's asynchronous allreduce, and then waiting for all of it."""

    def __init__(self, device: torch.device) -> None:
        self.rank: int = hvd.rank()
        self.size: int = hvd.size()
        self._device = device
        self._named: list[tuple[str, torch.Tensor]] = []

    @property
    def contributors(self) -> Sequence[int]:
        """The ranks whose arrays a result is the sum of."""
        return range(self.size)

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

    def barrier(self) -> None:
        """Return when every rank has come here."""
        hvd.barrier()

    def gather(self, values: np.ndarray) -> np.ndarray:
        """Return (ranks, length) of a float64 vector."""
        rows: np.ndarray = hvd.allgather(torch.from_numpy(values[None, :].copy()), name="gather").numpy()
        return rows

    def close(self) -> None:
        """Leave Horovod in order, so that no rank is taken for dead."""
        hvd.shutdown()
