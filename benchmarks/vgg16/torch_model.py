"""VGG-16 in PyTorch: torchvision's own class, its layers sized by the specification."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.architecture import Architecture
from benchmarks.layers.torch.layers import NormFactory
from benchmarks.layers.torch.torchvision_models import model_file
from benchmarks.vgg16.spec import Numbers, dense_layers

vgg = model_file("vgg")


def build(architecture: Architecture, *, batch_norm: NormFactory | None = None) -> nn.Module:
    """Return the model: (batch, channels, height, width) -> logits (batch, classes).

    Its parameters have the names of the specification. Their values are PyTorch's own initial ones and are meant to be
    replaced. `batch_norm` has nothing to make here.
    """
    numbers: Numbers = architecture.numbers
    # The constructor makes 124 million weights, whatever the sizes asked for: on the meta device they take no memory.
    with torch.device("meta"):
        model = vgg.VGG(nn.Sequential(), architecture.classes, init_weights=False)
    model.features = _features(numbers, architecture.channels)
    model.avgpool = nn.AdaptiveAvgPool2d((numbers.pooled_size, numbers.pooled_size))
    model.classifier = _classifier(numbers, architecture.classes)
    return model


def _features(numbers: Numbers, channels: int) -> nn.Sequential:
    """Return torchvision's stack of these widths, its first layer fitted to the image's channels."""
    configuration: list[int | str] = []
    for stage in numbers.stages:
        configuration += [stage.multiple * numbers.width] * stage.convolutions + ["M"]
    layers = vgg.make_layers(configuration)
    layers[0] = nn.Conv2d(channels, numbers.width, numbers.kernel, padding=numbers.padding)
    return layers


def _classifier(numbers: Numbers, classes: int) -> nn.Sequential:
    """Return torchvision's order of layers, its dropouts passing everything on."""
    layers: list[nn.Module] = []
    for layer in dense_layers(numbers, classes):
        layers.append(nn.Linear(layer.into, layer.out))
        if layer.hidden:
            layers += [nn.ReLU(inplace=True), nn.Dropout(p=0.0)]
    return nn.Sequential(*layers)
