"""ResNet-50 in PyTorch: torchvision's own class."""

from __future__ import annotations

from typing import Any

from torch import nn

from benchmarks.architecture import Architecture
from benchmarks.layers.torch.layers import NormFactory, norm_factory, without_step_counters
from benchmarks.layers.torch.torchvision_models import model_file
from benchmarks.resnet50.spec import Numbers

resnet = model_file("resnet")
STANDARD_WIDTH, STANDARD_CHANNELS = 64, 3


def build(architecture: Architecture, *, batch_norm: NormFactory | None = None) -> nn.Module:
    """Return the model: (batch, channels, height, width) -> logits (batch, classes).

    Its parameters and buffers have the names of the specification. Their values are torchvision's own initial ones and
    are meant to be replaced. `batch_norm` is called as torch.nn.BatchNorm2d is; None is that class.
    """
    numbers: Numbers = architecture.numbers
    norm = norm_factory(numbers, batch_norm)
    model = _model_class(numbers)(
        resnet.Bottleneck, list(numbers.blocks), num_classes=architecture.classes, norm_layer=norm
    )
    if architecture.channels != STANDARD_CHANNELS or numbers.width != STANDARD_WIDTH:
        _replace_ends(model, architecture, norm)
    return without_step_counters(model)


def _model_class(numbers: Numbers) -> type[Any]:
    """Return torchvision's class, or for another width one whose stages are scaled."""
    if numbers.width == STANDARD_WIDTH:
        return resnet.ResNet

    class ScaledResNet(resnet.ResNet):  # type: ignore[name-defined]
        def _make_layer(self, block: Any, planes: int, *args: Any, **kwargs: Any) -> nn.Sequential:
            if planes == STANDARD_WIDTH:
                self.inplanes = numbers.width
            return super()._make_layer(block, planes * numbers.width // STANDARD_WIDTH, *args, **kwargs)

    return ScaledResNet


def _replace_ends(model: Any, architecture: Architecture, norm: Any) -> None:
    """Fit the first and the last layer, whose sizes torchvision's constructor fixes."""
    numbers: Numbers = architecture.numbers
    model.conv1 = nn.Conv2d(
        architecture.channels, numbers.width, numbers.stem_kernel, numbers.stem_stride, numbers.stem_padding, bias=False
    )
    model.bn1 = norm(numbers.width)
    model.fc = nn.Linear(numbers.features, architecture.classes)
