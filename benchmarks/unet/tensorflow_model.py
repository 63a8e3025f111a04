"""The U-Net in TensorFlow."""

from __future__ import annotations

from typing import Any

import keras

from benchmarks.architecture import Architecture
from benchmarks.layers.tensorflow.layers import Layers, NormFactory
from benchmarks.unet.spec import Numbers


def build(
    architecture: Architecture, *, dtype_policy: str = "float32", batch_norm: NormFactory | None = None
) -> keras.Model:
    """Return the model: (batch, height, width, channels) -> logits (batch, height, width, classes), float32 at least.

    Its layers have canonical names. Initial values are Keras' and meant to be replaced. `batch_norm` is called as
    benchmarks.layers.tensorflow.batch_norm.BatchNorm is; None is that class.
    """
    make, n = Layers(architecture, dtype_policy, batch_norm), architecture.numbers
    image = make.image()
    x, skips = _stage(make, image, "down.0", n, n.stage_width(0)), []
    for level in range(1, n.depth + 1):
        skips.append(x)
        x = _stage(make, make.pool(x, n.scale, n.scale), f"down.{level}", n, n.stage_width(level))
    for index, level in enumerate(reversed(range(n.depth))):
        x = make.upsample(x, f"up.{index}.upsample", n.stage_width(level), n.scale)
        x = _stage(make, make.concatenate(skips.pop(), x), f"up.{index}.stage", n, n.stage_width(level))
    return make.model(image, make.conv(x, "head", architecture.classes, 1, bias=True))


def _stage(make: Layers, x: Any, name: str, n: Numbers, out: int) -> Any:
    """3x3 conv, norm, ReLU, 3x3 conv, norm, ReLU."""
    for index in (1, 2):
        x = make.conv(x, f"{name}.conv{index}", out, n.kernel, padding=n.padding)
        x = make.relu(make.norm(x, f"{name}.bn{index}"))
    return x
