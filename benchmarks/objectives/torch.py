"""The losses in PyTorch; reference.py defines them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from benchmarks.objectives.reference import DICE_SMOOTHING, LossSettings

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def loss(task: str, config: LossSettings) -> Loss:
    """Return (logits, targets, weights) -> scalar, float32 at least.

    logits: (batch, classes), or (batch, classes, height, width) in segmentation. targets: integers without the class
    axis. weights: (batch,).
    """
    per_example = _PER_EXAMPLE[task]

    def mean(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        losses = per_example(wide, targets.long(), config)
        weights = weights.to(losses.dtype)
        return (losses * weights).sum() / weights.sum().clamp_min(torch.finfo(losses.dtype).tiny)

    return mean


def _classification(logits: torch.Tensor, targets: torch.Tensor, config: LossSettings) -> torch.Tensor:
    return functional.cross_entropy(logits, targets, label_smoothing=config.label_smoothing, reduction="none")


def _segmentation(logits: torch.Tensor, targets: torch.Tensor, config: LossSettings) -> torch.Tensor:
    crossed = _classification(logits, targets, config).mean(dim=(1, 2))
    if config.dice_weight == 0:
        return crossed
    return crossed + config.dice_weight * _dice(logits.softmax(dim=1), targets)


def _dice(p: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    y = torch.zeros_like(p).scatter_(1, targets.unsqueeze(1), 1)
    both, sizes = (p * y).sum(dim=(2, 3)), p.sum(dim=(2, 3)) + y.sum(dim=(2, 3))
    return 1 - ((2 * both + DICE_SMOOTHING) / (sizes + DICE_SMOOTHING)).mean(dim=1)


_PER_EXAMPLE = {"classification": _classification, "segmentation": _segmentation}
