"""The numbers of ResNet-50 v1.5 as torchvision defines it: He et al. 2015, table 1, but stride in the 3x3 convolution.

Names are torchvision's. Kernels start as there (He et al. 2015b, fan out), the classifier as in Goyal et al. 2017
(normal with deviation 0.01). A width other than 64 scales every layer's channels by width / 64.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks import arrays
from benchmarks.architecture import Architecture, ArraySpec


@dataclass(frozen=True)
class Numbers:
    """What the two builders read. Paddings are pixels added on each side; `momentum` is the share that is kept."""

    width: int
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    strides: tuple[int, ...] = (1, 2, 2, 2)
    expansion: int = 4
    stem_kernel: int = 7
    stem_stride: int = 2
    stem_padding: int = 3
    pool_kernel: int = 3
    pool_stride: int = 2
    pool_padding: int = 1
    epsilon: float = 1e-5
    momentum: float = 0.9
    classifier_deviation: float = 0.01

    @property
    def features(self) -> int:
        """Channels that the classifier sees."""
        return self.width * 2 ** (len(self.blocks) - 1) * self.expansion


@dataclass(frozen=True)
class Block:
    """One bottleneck: 1x1 into `inner` channels, 3x3 with the stride, 1x1 out; a projection where the shapes differ."""

    name: str
    into: int
    inner: int
    out: int
    stride: int

    @property
    def projects(self) -> bool:
        """True if the shortcut is a strided 1x1 convolution, false if it is the identity."""
        return self.stride != 1 or self.into != self.out


def blocks(numbers: Numbers) -> list[Block]:
    """Return all bottlenecks in order."""
    made, into = [], numbers.width
    for stage, (count, stride) in enumerate(zip(numbers.blocks, numbers.strides, strict=True)):
        inner = numbers.width * 2**stage
        for index in range(count):
            out = inner * numbers.expansion
            made.append(Block(f"layer{stage + 1}.{index}", into, inner, out, stride if index == 0 else 1))
            into = out
    return made


def architecture(*, width: int, channels: int, classes: int, image_size: int) -> Architecture:
    """Return ResNet-50 for square images of `image_size` pixels; any size from 1 is admitted.

    The smallest map has ceil(image_size / 32) pixels a side. Raises ValueError for a size below 1.
    """
    arrays.require_positive(width=width, channels=channels, classes=classes, image_size=image_size)
    numbers = Numbers(width)
    listed = _stem(numbers, channels)
    for block in blocks(numbers):
        listed += _bottleneck(block)
    listed += arrays.dense("fc", classes, numbers.features, numbers.classifier_deviation)
    smallest = -(-image_size // 32)
    return Architecture(tuple(listed), numbers, classes, channels, image_size, smallest**2)


def _stem(numbers: Numbers, channels: int) -> list[ArraySpec]:
    kernel = numbers.stem_kernel
    conv = arrays.conv("conv1", numbers.width, channels, kernel, fan=numbers.width * kernel**2)
    return conv + arrays.batch_norm("bn1", numbers.width)


def _bottleneck(block: Block) -> list[ArraySpec]:
    name, into, inner, out = block.name, block.into, block.inner, block.out
    listed = _conv_norm(f"{name}.conv1", f"{name}.bn1", inner, into, 1)
    listed += _conv_norm(f"{name}.conv2", f"{name}.bn2", inner, inner, 3)
    listed += _conv_norm(f"{name}.conv3", f"{name}.bn3", out, inner, 1, closes_residual=True)
    if block.projects:
        listed += _conv_norm(f"{name}.downsample.0", f"{name}.downsample.1", out, into, 1)
    return listed


def _conv_norm(
    conv: str, norm: str, out: int, into: int, kernel: int, closes_residual: bool = False
) -> list[ArraySpec]:
    return arrays.conv(conv, out, into, kernel, fan=out * kernel**2) + arrays.batch_norm(norm, out, closes_residual)
