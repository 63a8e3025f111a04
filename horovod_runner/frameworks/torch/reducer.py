"""What every strategy looks like to the PyTorch backend, and the one that reduces nothing."""

from __future__ import annotations

from collections.abc import Mapping

import torch


class Reducer:
    """Makes this worker's gradients all workers'. This one leaves them as they are: for one worker, or compute-only
    ones.

    A step is a backward pass for each of its micro-batches, of which the last is `armed`; `finish()`, after which every
    tensor of `updated` has its gradient; their update; and `publish()`. Names are canonical.
    """

    sharded = False  # whether `updated` are this worker's shards of the parameters

    def __init__(self, model: torch.nn.Module) -> None:
        self.parameters = dict(model.named_parameters())
        self.updated: Mapping[str, torch.Tensor] = self.parameters  # what the optimizer updates
        self.armed = True
        self.ready_at: float | None = None  # time.perf_counter when the last step's first gradient was handed over

    def finish(self) -> None:
        """Wait until gradients are reduced."""

    def publish(self) -> None:
        """Give other workers what this one has updated."""

    def flush(self) -> None:
        """Wait for all that is in flight; every worker calls it."""

    def state(self) -> dict[str, torch.Tensor]:
        """Return what else a later step depends on, to be copied into: `<slot>/<parameter>`."""
        return {}

    def gather(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Return a tensor of the state, of which this worker may hold a shard only; every worker calls it."""
        return tensor

    def shard(self, name: str, tensor: torch.Tensor, value: torch.Tensor) -> None:
        """Copy a whole array into a tensor of the state."""
        tensor.copy_(value)


def memory_of(tensor: torch.Tensor) -> torch.Tensor:
    """Return a dense tensor's memory as a vector that shares it.

    Horovod takes contiguous tensors only, and gradients of convolutions are laid out channels last. All workers run
    the same code, so their layouts agree, and the order of elements matters to no sum.
    """
    return tensor.as_strided((tensor.numel(),), (1,), tensor.storage_offset())
