"""VGG-16 in TensorFlow, layer by layer what torchvision's class computes."""

from __future__ import annotations

from typing import Any

import keras

from benchmarks.architecture import Architecture
from benchmarks.layers.tensorflow.layers import Layers, NormFactory
from benchmarks.vgg16.spec import convolutions, dense_layers


def build(
    architecture: Architecture, *, dtype_policy: str = "float32", batch_norm: NormFactory | None = None
) -> keras.Model:
    """Return the model: (batch, height, width, channels) -> logits (batch, classes), float32 at least.

    Its layers have canonical names. Initial values are Keras' and meant to be replaced. `batch_norm` has nothing to
    make here.
    """
    make, n = Layers(architecture, dtype_policy, batch_norm), architecture.numbers
    image = make.image()
    x = image
    for layer in convolutions(n, architecture.channels):
        x = make.relu(make.conv(x, layer.name, layer.out, n.kernel, padding=n.padding, bias=True))
        if layer.closes_stage:
            x = make.pool(x, n.pool, n.pool)
    return make.model(image, _classifier(make, make.adaptive_average(x, n.pooled_size)))


def _classifier(make: Layers, maps: Any) -> Any:
    x = make.flatten(maps)
    for layer in dense_layers(make.architecture.numbers, make.architecture.classes):
        x = make.dense(x, layer.name, layer.out)
        if layer.hidden:
            x = make.relu(x)
    return x
