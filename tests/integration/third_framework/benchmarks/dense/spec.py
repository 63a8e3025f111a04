"""The numbers of a network of two dense layers with a ReLU between them (He et al. 2015, eq. 10)."""

from __future__ import annotations

import math

from benchmarks import arrays
from benchmarks.architecture import Architecture


def architecture(*, width: int, channels: int, classes: int, image_size: int) -> Architecture:
    """Return the network for square images; ValueError for a size below 1."""
    arrays.require_positive(width=width, channels=channels, classes=classes, image_size=image_size)
    pixels = channels * image_size**2
    hidden = arrays.dense("hidden", width, pixels, math.sqrt(2 / pixels))
    output = arrays.dense("output", classes, width, math.sqrt(2 / width))
    return Architecture((*hidden, *output), None, classes, channels, image_size, minimum_values_per_channel=1)
