"""Building blocks of a specification: the arrays of one layer, under torch's names (weight, bias, running_*)."""

from __future__ import annotations

import math

from benchmarks.architecture import ArraySpec


def conv(name: str, out: int, into: int, kernel: int, fan: int) -> list[ArraySpec]:
    """Return a convolution's kernel (OIHW, no bias), normal with variance 2 / fan (He et al. 2015, eq. 10 and 14)."""
    return [ArraySpec(f"{name}.weight", (out, into, kernel, kernel), "conv_kernel", math.sqrt(2 / fan), random=True)]


def transposed_conv(name: str, into: int, out: int, kernel: int, fan: int) -> list[ArraySpec]:
    """Return a transposed convolution's kernel (IOHW), normal with variance 2 / fan, and its bias of zeros."""
    shape = (into, out, kernel, kernel)
    return [
        ArraySpec(f"{name}.weight", shape, "transposed_conv_kernel", math.sqrt(2 / fan), random=True),
        bias(name, out),
    ]


def dense(name: str, out: int, into: int, deviation: float) -> list[ArraySpec]:
    """Return a dense layer's kernel (out, in), normal with this standard deviation, and its bias of zeros."""
    return [ArraySpec(f"{name}.weight", (out, into), "dense_kernel", deviation, random=True), bias(name, out)]


def bias(name: str, size: int) -> ArraySpec:
    """Return a bias of zeros."""
    return ArraySpec(f"{name}.bias", (size,), "bias")


def batch_norm(name: str, channels: int, closes_residual: bool = False) -> list[ArraySpec]:
    """Return weight 1, bias 0, running mean 0 and running variance 1 of a batch normalisation."""
    return [
        ArraySpec(f"{name}.weight", (channels,), "norm_weight", 1.0, closes_residual=closes_residual),
        ArraySpec(f"{name}.bias", (channels,), "norm_bias"),
        ArraySpec(f"{name}.running_mean", (channels,), "running_mean"),
        ArraySpec(f"{name}.running_var", (channels,), "running_var", 1.0),
    ]


def require_positive(**sizes: int) -> None:
    """Raise ValueError that names the first size below one."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, but it is {size}")
