"""The numbers of VGG-16 as torchvision defines it: Simonyan and Zisserman 2015, table 1, configuration D, with biases.

Names are torchvision's. A width other than 64 scales every layer's channels by width / 64, the classifier's hidden ones
too. Two classifiers follow the convolutions:

- `full`, as published: average pooling to 7x7 maps, then 4096-4096-classes;
- `small`, for images of some 32 to 128 pixels, whose last maps have 1x1 to 4x4 pixels: global average pooling, then
  512-classes. With ten classes it holds 0.3 million parameters beside the convolutions' 14.7 million; the full one
  holds 119.6.

Stated deviation: there is no dropout. It is random, and two frameworks cannot draw the same masks, so both do without;
the published classifier halves its hidden values at random in training.

Convolutions start as in torchvision (He et al. 2015, fan out), all biases at zero. The full classifier starts as there,
normal with deviation 0.01, times sqrt(64 / width), which keeps the variance of its sums at every width and is 1 at 64.
The small one starts as He et al. say (eq. 10, fan in): without normalisation a signal that each layer shrinks leaves
gradients that plain SGD takes an epoch or more to grow out of, and 0.01 shrinks it to a sixth in each of two layers.
On digits at 32 pixels, width 64, SGD at 0.01, the validation accuracy after two epochs was 0.51 in one run so, and 0.28
in the same run with 0.01. Adam suffers less from either, and is the workload's default.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from benchmarks import arrays
from benchmarks.architecture import Architecture, ArraySpec

Classifier = Literal["full", "small"]
STANDARD_WIDTH, STANDARD_SIZE = 64, 224


@dataclass(frozen=True)
class Stage:
    """Convolutions of one width, before a pooling: so many of them, of `multiple` times the model's width."""

    convolutions: int
    multiple: int


@dataclass(frozen=True)
class Numbers:
    """What the two builders read. Paddings are pixels added on each side."""

    width: int
    classifier: Classifier
    stages: tuple[Stage, ...] = (Stage(2, 1), Stage(2, 2), Stage(3, 4), Stage(3, 8), Stage(3, 8))
    kernel: int = 3
    padding: int = 1
    pool: int = 2  # kernel and stride of the pooling that ends a stage
    classifier_deviation: float = 0.01  # of the full classifier at the standard width

    @property
    def features(self) -> int:
        """Channels of the last maps."""
        return self.width * self.stages[-1].multiple

    @property
    def pooled_size(self) -> int:
        """Pixels a side of the maps that the classifier sees."""
        return 7 if self.classifier == "full" else 1

    @property
    def hidden(self) -> tuple[int, ...]:
        """Units of the classifier's hidden layers: 4096 and 4096, or 512, at the standard width."""
        return (64 * self.width,) * 2 if self.classifier == "full" else (8 * self.width,)


@dataclass(frozen=True)
class Convolution:
    """One convolution and the ReLU behind it; `closes_stage`: a pooling follows."""

    name: str
    into: int
    out: int
    closes_stage: bool


@dataclass(frozen=True)
class Dense:
    """One dense layer; `hidden`: a ReLU follows."""

    name: str
    into: int
    out: int
    hidden: bool


def convolutions(numbers: Numbers, channels: int) -> Iterator[Convolution]:
    """Yield all convolutions in order. Their numbers are torchvision's, which counts ReLUs and poolings as well."""
    into, index = channels, 0
    for stage in numbers.stages:
        for left in reversed(range(stage.convolutions)):
            out = numbers.width * stage.multiple
            yield Convolution(f"features.{index}", into, out, closes_stage=left == 0)
            into, index = out, index + (2 if left else 3)


def dense_layers(numbers: Numbers, classes: int) -> list[Dense]:
    """Return the classifier's layers in order. Torchvision counts the ReLU and the dropout behind each as well."""
    sizes = [numbers.features * numbers.pooled_size**2, *numbers.hidden, classes]
    last = len(numbers.hidden)
    return [Dense(f"classifier.{3 * i}", into, out, i < last) for i, (into, out) in enumerate(pairwise(sizes))]


def default_classifier(image_size: int) -> Classifier:
    """Return the classifier that suits this size: the published one from the published size up."""
    return "full" if image_size >= STANDARD_SIZE else "small"


def architecture(
    *, width: int, channels: int, classes: int, image_size: int, classifier: Classifier | None = None
) -> Architecture:
    """Return VGG-16 for square images of `image_size` pixels; no `classifier` stands for the size's default.

    Raises ValueError for a size below 1, and for an image that the five poolings leave nothing of.
    """
    arrays.require_positive(width=width, channels=channels, classes=classes, image_size=image_size)
    numbers = Numbers(width, classifier or default_classifier(image_size))
    smallest = image_size // numbers.pool ** len(numbers.stages)
    if not smallest:
        raise ValueError(
            f"VGG-16 halves its input {len(numbers.stages)} times, so its size must be at least"
            f" {numbers.pool ** len(numbers.stages)}, but it is {image_size}"
        )
    listed = [array for layer in convolutions(numbers, channels) for array in _convolution(layer, numbers)]
    listed += [array for layer in dense_layers(numbers, classes) for array in _dense(layer, numbers)]
    return Architecture(tuple(listed), numbers, classes, channels, image_size, smallest**2)


def _convolution(layer: Convolution, numbers: Numbers) -> list[ArraySpec]:
    kernel = arrays.conv(layer.name, layer.out, layer.into, numbers.kernel, fan=layer.out * numbers.kernel**2)
    return [*kernel, arrays.bias(layer.name, layer.out)]


def _dense(layer: Dense, numbers: Numbers) -> list[ArraySpec]:
    return arrays.dense(layer.name, layer.out, layer.into, _deviation(layer, numbers))


def _deviation(layer: Dense, numbers: Numbers) -> float:
    if numbers.classifier == "small":
        return math.sqrt(2 / layer.into)
    return numbers.classifier_deviation * math.sqrt(STANDARD_WIDTH / numbers.width)
