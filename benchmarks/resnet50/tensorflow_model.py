"""ResNet-50 in TensorFlow, layer by layer what torchvision's class computes."""

from __future__ import annotations

from typing import Any

import keras

from benchmarks.architecture import Architecture
from benchmarks.layers.tensorflow.layers import Layers, NormFactory
from benchmarks.resnet50.spec import Block, Numbers, blocks


def build(
    architecture: Architecture, *, dtype_policy: str = "float32", batch_norm: NormFactory | None = None
) -> keras.Model:
    """Return the model: (batch, height, width, channels) -> logits (batch, classes), float32 at least.

    Its layers have canonical names. Initial values are Keras' and meant to be replaced. `batch_norm` is called as
    benchmarks.layers.tensorflow.batch_norm.BatchNorm is; None is that class.
    """
    make = Layers(architecture, dtype_policy, batch_norm)
    image = make.image()
    x = _stem(make, image, architecture.numbers)
    for block in blocks(architecture.numbers):
        x = _bottleneck(make, x, block)
    return make.model(image, make.dense(make.average(x), "fc", architecture.classes))


def _stem(make: Layers, x: Any, n: Numbers) -> Any:
    x = make.conv(x, "conv1", n.width, n.stem_kernel, stride=n.stem_stride, padding=n.stem_padding)
    x = make.relu(make.norm(x, "bn1"))
    return make.pool(x, n.pool_kernel, n.pool_stride, n.pool_padding)


def _bottleneck(make: Layers, x: Any, block: Block) -> Any:
    """1x1, 3x3 with the stride (v1.5), 1x1; then the shortcut is added, and the ReLU follows the sum."""
    name = block.name
    y = make.relu(make.norm(make.conv(x, f"{name}.conv1", block.inner, 1), f"{name}.bn1"))
    y = make.conv(y, f"{name}.conv2", block.inner, 3, stride=block.stride, padding=1)
    y = make.relu(make.norm(y, f"{name}.bn2"))
    y = make.norm(make.conv(y, f"{name}.conv3", block.out, 1), f"{name}.bn3")
    return make.relu(make.add(y, _shortcut(make, x, block)))


def _shortcut(make: Layers, x: Any, block: Block) -> Any:
    if not block.projects:
        return x
    x = make.conv(x, f"{block.name}.downsample.0", block.out, 1, stride=block.stride)
    return make.norm(x, f"{block.name}.downsample.1")
