"""The numbers of a U-Net with batch normalisation and an output as large as its input.

Ronneberger et al. 2015, figure 1, with two changes that today's implementations share: convolutions are padded, so that
nothing is cropped, and each is followed by batch normalisation in place of its bias. Kernels start as the paper says
(section 3): normal with variance 2 / N, N the inputs of one neuron.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from benchmarks import arrays
from benchmarks.architecture import Architecture, ArraySpec


@dataclass(frozen=True)
class Numbers:
    """What the two builders read. Paddings are pixels added on each side; `momentum` is the share that is kept."""

    width: int
    depth: int = 4
    kernel: int = 3
    padding: int = 1
    scale: int = 2  # of each pooling and each transposed convolution: kernel and stride
    epsilon: float = 1e-5
    momentum: float = 0.9

    def stage_width(self, level: int) -> int:
        """Return the channels of a stage; level 0 is the full size, level `depth` the bottom."""
        return self.width * 2**level


def architecture(*, width: int, channels: int, classes: int, image_size: int) -> Architecture:
    """Return the U-Net for square images of `image_size` pixels.

    Raises ValueError for a size below 1, or one that four halvings do not divide.
    """
    arrays.require_positive(width=width, channels=channels, classes=classes, image_size=image_size)
    numbers = Numbers(width)
    multiple = numbers.scale**numbers.depth
    if image_size % multiple:
        raise ValueError(
            f"the U-Net halves its input {numbers.depth} times, so its size must be a multiple of {multiple},"
            f" but it is {image_size}"
        )
    listed = [*_contracting(numbers, channels), *_expanding(numbers), *_head(numbers, classes)]
    return Architecture(tuple(listed), numbers, classes, channels, image_size, (image_size // multiple) ** 2)


def _contracting(numbers: Numbers, channels: int) -> list[ArraySpec]:
    widths = [channels, *(numbers.stage_width(level) for level in range(numbers.depth + 1))]
    pairs = pairwise(widths)
    return [a for level, (into, out) in enumerate(pairs) for a in _stage(f"down.{level}", numbers, into, out)]


def _expanding(numbers: Numbers) -> list[ArraySpec]:
    """List the way up, from up.0 (deepest) to up.3."""
    listed: list[ArraySpec] = []
    for index, level in enumerate(reversed(range(numbers.depth))):
        below, out = numbers.stage_width(level + 1), numbers.stage_width(level)
        listed += arrays.transposed_conv(f"up.{index}.upsample", below, out, numbers.scale, fan=below)
        listed += _stage(f"up.{index}.stage", numbers, 2 * out, out)
    return listed


def _head(numbers: Numbers, classes: int) -> list[ArraySpec]:
    return [*arrays.conv("head", classes, numbers.width, 1, fan=numbers.width), arrays.bias("head", classes)]


def _stage(name: str, numbers: Numbers, into: int, out: int) -> list[ArraySpec]:
    """List conv1, bn1, conv2, bn2."""
    area = numbers.kernel**2
    listed = arrays.conv(f"{name}.conv1", out, into, numbers.kernel, fan=into * area)
    listed += arrays.batch_norm(f"{name}.bn1", out)
    listed += arrays.conv(f"{name}.conv2", out, out, numbers.kernel, fan=out * area)
    return listed + arrays.batch_norm(f"{name}.bn2", out)
