"""The U-Net in PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from benchmarks.architecture import Architecture
from benchmarks.layers.torch.layers import NormFactory, norm_factory, without_step_counters
from benchmarks.unet.spec import Numbers

Norm = Callable[[int], nn.Module]


class Stage(nn.Module):
    """3x3 conv, norm, ReLU, 3x3 conv, norm, ReLU."""

    def __init__(self, numbers: Numbers, into: int, out: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(into, out, numbers.kernel, padding=numbers.padding, bias=False)
        self.bn1 = norm(out)
        self.conv2 = nn.Conv2d(out, out, numbers.kernel, padding=numbers.padding, bias=False)
        self.bn2 = norm(out)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, into, height, width) to (batch, out, height, width)."""
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)))


class UpStage(nn.Module):
    """2x2 transposed conv of what comes from below, concatenation behind the skip, then a stage."""

    def __init__(self, numbers: Numbers, below: int, out: int, norm: Norm) -> None:
        super().__init__()
        self.upsample = nn.ConvTranspose2d(below, out, numbers.scale, stride=numbers.scale)
        self.stage = Stage(numbers, 2 * out, out, norm)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Map (batch, below, height, width) and the skip of twice the size to the skip's shape."""
        return self.stage(torch.cat([skip, self.upsample(x)], dim=1))


class UNet(nn.Module):
    """Stages down to the bottom, stages up with skips, 1x1 conv."""

    def __init__(self, architecture: Architecture, norm: Norm) -> None:
        super().__init__()
        numbers: Numbers = architecture.numbers
        widths = [numbers.stage_width(level) for level in range(numbers.depth + 1)]
        ins = [architecture.channels, *widths[:-1]]
        self.down = nn.ModuleList(Stage(numbers, a, b, norm) for a, b in zip(ins, widths, strict=True))
        self.pool = nn.MaxPool2d(numbers.scale)
        levels = reversed(range(numbers.depth))
        self.up = nn.ModuleList(UpStage(numbers, widths[level + 1], widths[level], norm) for level in levels)
        self.head = nn.Conv2d(numbers.width, architecture.classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, channels, height, width) to logits (batch, classes, height, width)."""
        x = self.down[0](x)
        skips = []
        for stage in list(self.down)[1:]:
            skips.append(x)
            x = stage(self.pool(x))
        for stage in self.up:
            x = stage(x, skips.pop())
        return self.head(x)


def build(architecture: Architecture, *, batch_norm: NormFactory | None = None) -> nn.Module:
    """Return the model: (batch, channels, height, width) -> logits (batch, classes, height, width).

    Its parameters and buffers have the names of the specification. Their values are PyTorch's own initial ones and are
    meant to be replaced. `batch_norm` is called as torch.nn.BatchNorm2d is; None is that class.
    """
    return without_step_counters(UNet(architecture, norm_factory(architecture.numbers, batch_norm)))
