"""Batch normalisation in PyTorch by other statistics than this worker's batch: groups of examples, or all workers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks.layers.batch_norm import Normalisation, share
from benchmarks.layers.torch.layers import NormFactory

MeanOverWorkers = Callable[[torch.Tensor, str], torch.Tensor]


class CurrentMicroBatch:
    """Which micro-batch of the step runs; the backend counts, and all layers of its model look here.

    It is the `number`-th of the `counted` that hold examples; it has `examples` itself, and a worker's batch has
    `mean_examples` in the mean. `by_itself`: it belongs to no step, and a layer's momentum is its whole share.
    """

    number = 0
    counted = 1
    examples = 0
    mean_examples = 0.0
    by_itself = False


def factory(how: Normalisation, current: CurrentMicroBatch, mean_over_workers: MeanOverWorkers) -> NormFactory | None:
    """Return what builders take as `batch_norm`; None where PyTorch's own layer does the job, the fastest there is."""
    if how.plain:
        return None
    if not how.synchronised:
        return partial(GroupedBatchNorm, how=how, current=current)
    numbers = count()
    return lambda channels, **options: SynchronisedBatchNorm(
        channels,
        name=f"norm.{next(numbers)}",
        how=how,
        current=current,
        mean_over_workers=mean_over_workers,
        **options,
    )


@contextlib.contextmanager
def taking_in(model: nn.Module, current: CurrentMicroBatch, taken: float) -> Iterator[None]:
    """Have every layer take statistics in with this share, whatever it does in training."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    usual = [norm.momentum for norm in norms]
    current.by_itself = True
    for norm in norms:
        norm.momentum = taken
    try:
        yield
    finally:
        current.by_itself = False
        for norm, momentum in zip(norms, usual, strict=True):
            norm.momentum = momentum


class GroupedBatchNorm(nn.BatchNorm2d):
    """Normalise each group of examples by its own statistics; the running ones take in the mean over all groups."""

    def __init__(self, channels: int, *, how: Normalisation, current: CurrentMicroBatch, **options: Any) -> None:
        super().__init__(channels, **options)
        self._how, self._current = how, current

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, channels, height, width) to the same shape."""
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        taken = self._taken(self.momentum)
        groups = len(x) // (self._how.group or len(x))
        if groups == 1:
            return functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, True, taken, self.eps
            )
        batch, channels, height, width = x.shape
        grouped = x.permute(0, 2, 3, 1).reshape(groups, -1, channels)  # no copy where channels are last
        y, mean, variance = _Grouped.apply(grouped, self.weight, self.bias, self.eps)
        values = grouped.shape[1]
        self.running_mean.lerp_(mean, taken)
        self.running_var.lerp_(variance * (values / (values - 1)), taken)
        return y.view(batch, height, width, channels).permute(0, 3, 1, 2)

    def _taken(self, momentum: float) -> float:
        """Return the share with which this micro-batch's statistics are taken in."""
        if self._current.by_itself:
            return momentum
        return share(momentum, self._how.micro_batches, self._current.counted, self._current.number)


class _Grouped(torch.autograd.Function):
    """y = weight x^ + bias, x^ = (x - mean) / sqrt(variance + eps), by the mean and variance of each group of examples.

    All groups at once, by few operations on (groups, values, channels): with a kernel for each group, large batches of
    small images would wait for calls.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return y, and the means over groups of their means and (biased) variances, each (channels,)."""
        wide = x.to(weight.dtype)
        variance, mean = torch.var_mean(wide, dim=1, correction=0, keepdim=True)
        inverse = torch.rsqrt(variance + eps)
        y = torch.addcmul(bias - mean * inverse * weight, wide, inverse * weight)
        ctx.save_for_backward(x, weight, mean, inverse)
        means = mean.mean(dim=(0, 1)), variance.mean(dim=(0, 1))
        ctx.mark_non_differentiable(*means)
        return y.to(x.dtype), *means

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor, *_: Any) -> tuple[torch.Tensor | None, ...]:
        """Return gradients as of Ioffe and Szegedy 2015, section 3.

        dx = weight / s (dy - mean(dy) - x^ mean(dy x^)), with the means over a group.
        """
        x, weight, mean, inverse = ctx.saved_tensors
        wide = dy.to(weight.dtype)
        hat = (x.to(weight.dtype) - mean) * inverse
        mean_dy, mean_dy_hat = wide.mean(dim=1, keepdim=True), (wide * hat).mean(dim=1, keepdim=True)
        dx = (wide - mean_dy).addcmul_(hat, mean_dy_hat, value=-1).mul_(inverse * weight)
        values = x.shape[1]
        return dx.to(x.dtype), mean_dy_hat.sum(dim=(0, 1)) * values, mean_dy.sum(dim=(0, 1)) * values, None


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """Normalise by the statistics of all workers' batches: of all examples together, however they are divided.

    One reduction of two values a channel in each direction.
    """

    def __init__(
        self,
        channels: int,
        *,
        name: str,
        how: Normalisation,
        current: CurrentMicroBatch,
        mean_over_workers: MeanOverWorkers,
        **options: Any,
    ) -> None:
        super().__init__(channels, **options)
        self._name, self._how, self._current, self._mean_over_workers = name, how, current, mean_over_workers

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, channels, height, width) to the same shape."""
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        share, mean_values = self._portion(x)
        y, mean, variance = _Synchronised.apply(
            x, self.weight, self.bias, self.running_mean, self.eps, self._name, share, mean_values,
            self._mean_over_workers,
        )  # fmt: skip
        values = self._how.workers * mean_values
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (values / (values - 1)), self.momentum)
        return y

    def _portion(self, x: torch.Tensor) -> tuple[float, float]:
        """Return this batch's examples over the mean of all workers', and the mean of their values a channel."""
        if not self._how.uneven:
            return 1.0, x.numel() // x.shape[1]
        mean_examples = self._current.mean_examples
        return self._current.examples / mean_examples, mean_examples * (x.shape[2] * x.shape[3])


class _Synchronised(torch.autograd.Function):
    """y = weight (x - mean) / sqrt(variance + eps) + bias, with mean and (biased) variance over all workers.

    The variance of the whole is the mean of the workers' variances and the variance of their means (law of total
    variance), each by its `share` of their examples over 1 / N. Means are taken relative to the running mean, which all
    workers share: squares of large numbers would cancel in float32. A blank row, with a share of 0, is normalised and
    left out of everything.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        shift: torch.Tensor,
        eps: float,
        name: str,
        share: float,
        mean_values: float,
        mean_over_workers: MeanOverWorkers,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return y, and mean and biased variance over all workers, each (channels,)."""
        # Statistics and normalisation by PyTorch's own kernels, which know every memory format.
        own_mean, own_variance = torch.batch_norm_update_stats(x, None, None, 0.0)
        offset = own_mean - shift
        moments = torch.cat([offset, own_variance + offset.square()])
        moments = moments if share == 1 else moments * share
        offset, second = mean_over_workers(moments, f"{name}.forward").chunk(2)
        mean, variance = shift + offset, second - offset.square()
        y = functional.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.eps, ctx.name, ctx.share, ctx.mean_values = eps, name, share, mean_values
        ctx.mean_over_workers = mean_over_workers
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor, *_: Any) -> tuple[torch.Tensor | None, ...]:
        """Return gradients as of Ioffe and Szegedy 2015, section 3, with the means over all workers.

        dx = weight / s (dy - mean(dy) - x^ mean(dy x^)), x^ = (x - mean) / s. Those of weight and bias stay this
        worker's: the reduction of gradients averages them as it does every other.
        """
        x, weight, mean, variance = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last) if _is_channels_last(x) else dy.contiguous()
        _, d_weight, d_bias = torch.ops.aten.native_batch_norm_backward(
            dy, x, weight, mean, variance, None, None, False, ctx.eps, [False, True, True]
        )
        sums = ctx.mean_over_workers(torch.cat([d_bias, d_weight]) / ctx.mean_values, f"{ctx.name}.backward")
        mean_dy, mean_dy_x = sums.chunk(2)
        inverse = torch.rsqrt(variance + ctx.eps)
        slope = -weight * inverse.square() * mean_dy_x
        constant = -weight * inverse * mean_dy - slope * mean
        channels = (1, -1, 1, 1)
        dx = torch.addcmul(constant.view(channels), x, slope.view(channels)).addcmul_(
            dy, (weight * inverse).view(channels)
        )
        dx = dx if ctx.share else torch.zeros_like(dx)
        return dx.to(x.dtype), d_weight, d_bias, None, None, None, None, None, None


def _is_channels_last(x: torch.Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)
