"""Squared norms of gradients in PyTorch: of every shard's, taken as it appears, and of the average."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from horovod_runner.allreduce.settings import partition
from horovod_runner.frameworks.torch.reducer import Reducer
from horovod_runner.machine.world import World


class SquaredNorms:
    """Takes the norm of each micro-batch's gradients as autograd hands them over, before it adds them up."""

    def __init__(self, parameters: Iterable[torch.Tensor], micro_batches: int) -> None:
        self._micro_batches = micro_batches
        self._rows: list[torch.Tensor] = []
        for parameter in parameters:
            parameter.register_hook(self._appeared)  # of a tensor: called with what this backward pass gives alone

    def take_share(self, reducer: Reducer, world: World) -> None:
        """Decide which reduced gradients this worker takes: its shards, or its share of what all workers have."""
        sizes = {name: tensor.numel() for name, tensor in reducer.updated.items()}
        names = list(sizes) if reducer.sharded else partition(sizes, world.rank, world.size)
        self._reduced = [reducer.updated[name] for name in names]

    def _appeared(self, gradient: torch.Tensor) -> None:
        self._rows.append(_row_norms(gradient))

    def taken(self) -> tuple[float, float]:
        """Return the step's figures (backend.Backend.squared_norms); to be called between reduction and update."""
        # A micro-batch's loss, and so its gradient, is divided by the number of them.
        shards = self._micro_batches * _squared(self._rows)
        self._rows.clear()
        return shards, _squared([_row_norms(tensor.grad) for tensor in self._reduced if tensor.grad is not None])


def _row_norms(gradient: torch.Tensor) -> torch.Tensor:
    """Return the norms along the first axis: float32 added up in one go would lose digits (optimizers._norms)."""
    return torch.linalg.vector_norm(gradient, dim=tuple(range(1, gradient.ndim)) or None).reshape(-1)


def _squared(norms: list[torch.Tensor]) -> float:
    """Return the sum of squares; a share may be empty."""
    return float(torch.cat(norms).double().square().sum()) if norms else 0.0
