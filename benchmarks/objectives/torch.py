"""The losses in PyTorch; reference.py defines them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from benchmarks.objectives.reference import DICE_SMOOTHING, LossSettings
from benchmarks.targets import VOID

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def loss(task: str, config: LossSettings, void: bool = False) -> Loss:
    """Return (logits, targets, weights) -> scalar, float32 at least.

    logits: (batch, classes), or (batch, classes, height, width) in segmentation. targets: integers without the class
    axis, of which some may be VOID with `void`. weights: (batch,), reference.example_weights.
    """
    per_example = _with_void if void else _PER_EXAMPLE[task]

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


def _with_void(logits: torch.Tensor, targets: torch.Tensor, config: LossSettings) -> torch.Tensor:
    """Return the losses of segmentation over the pixels that are not VOID."""
    valid = (targets != VOID).to(logits.dtype)
    targets = targets.clamp_min(0)
    crossed = (_classification(logits, targets, config) * valid).sum(dim=(1, 2)) / valid.sum(dim=(1, 2)).clamp_min(1)
    if config.dice_weight == 0:
        return crossed
    return crossed + config.dice_weight * _dice(logits.softmax(dim=1) * valid.unsqueeze(1), targets, valid)


def _dice(p: torch.Tensor, targets: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
    y = torch.zeros_like(p).scatter_(1, targets.unsqueeze(1), 1)
    y = y if valid is None else y * valid.unsqueeze(1)
    both, sizes = (p * y).sum(dim=(2, 3)), p.sum(dim=(2, 3)) + y.sum(dim=(2, 3))
    return 1 - ((2 * both + DICE_SMOOTHING) / (sizes + DICE_SMOOTHING)).mean(dim=1)


_PER_EXAMPLE = {"classification": _classification, "segmentation": _segmentation}
