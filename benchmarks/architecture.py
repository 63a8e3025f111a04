"""The language in which a job's numbers are written down, once, for every framework.

A specification (`resnet50/spec.py`, `unet/spec.py` …) lists its arrays under canonical names and layouts: torchvision's
names, convolution kernels as OIHW, transposed ones as IOHW, dense ones as (out, in). Initial values are drawn from it
here, in NumPy, so that every framework starts from the same bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

Arrays = dict[str, np.ndarray]

Kind = Literal[
    "conv_kernel",  # OIHW
    "transposed_conv_kernel",  # IOHW
    "dense_kernel",  # (out, in)
    "bias",
    "norm_weight",
    "norm_bias",
    "running_mean",
    "running_var",
]
KERNELS = ("conv_kernel", "transposed_conv_kernel", "dense_kernel")
STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True)
class ArraySpec:
    """One named array of a model: its shape, what it is for, and how its first value is drawn.

    `init` is a constant, or the standard deviation of a zero-mean normal distribution when `random` is true.
    `closes_residual` marks the last normalisation weight of a residual branch.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind
    init: float = 0.0
    random: bool = False
    closes_residual: bool = False

    @property
    def trainable(self) -> bool:
        """True for what the optimizer updates; false for the running statistics of batch normalisation."""
        return self.kind not in STATISTICS

    @property
    def is_kernel(self) -> bool:
        """True for weights proper, which weight decay applies to; biases and normalisation are spared by default."""
        return self.kind in KERNELS


@dataclass(frozen=True)
class Architecture:
    """A model's complete description: its arrays in order and the numbers its builders need.

    `numbers` is the specification's own frozen record (widths, strides, epsilon …), read by its two builders only.
    `minimum_values_per_channel` is the number of values per channel at the smallest feature map for one image: batch
    normalisation, if the model has any, needs more than one of them in a local batch.
    """

    arrays: tuple[ArraySpec, ...]
    numbers: Any
    classes: int
    channels: int
    image_size: int
    minimum_values_per_channel: int

    @property
    def trainable(self) -> tuple[ArraySpec, ...]:
        """Return what the optimizer updates, in order."""
        return tuple(a for a in self.arrays if a.trainable)

    @property
    def statistics(self) -> tuple[ArraySpec, ...]:
        """Return the running statistics, in order."""
        return tuple(a for a in self.arrays if not a.trainable)

    @property
    def normalises(self) -> bool:
        """True if there is batch normalisation, whose running statistics these are."""
        return bool(self.statistics)

    def with_identity_residuals(self) -> Architecture:
        """Return the model with residual branches that start at zero: last norm weight 0 (Goyal et al. 2017, 5.1)."""
        return replace(self, arrays=tuple(replace(a, init=0.0) if a.closes_residual else a for a in self.arrays))

    def parameter_count(self) -> int:
        """Return the number of trainable scalars."""
        return sum(int(np.prod(a.shape)) for a in self.trainable)


def draw_initial(arrays: Iterable[ArraySpec], seed: int) -> Arrays:
    """Return the first value of every array, float64, from the seed.

    Each array has a generator of its own, seeded by (seed, name): adding a layer changes no other layer's values.
    Values are rounded to float32 once, so that runs of every precision start from the same numbers.
    """
    return {spec.name: _draw(spec, seed) for spec in arrays}


def _draw(spec: ArraySpec, seed: int) -> np.ndarray:
    if not spec.random:
        return np.full(spec.shape, spec.init, dtype=np.float64)
    generator = np.random.default_rng([seed, zlib.crc32(spec.name.encode())])
    values = generator.standard_normal(spec.shape) * spec.init
    return values.astype(np.float32).astype(np.float64)
