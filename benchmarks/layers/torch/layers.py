"""What the PyTorch builders share: the batch normalisation of a specification, free of its step counter."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

NormFactory = Callable[..., nn.Module]
_COUNTER = "num_batches_tracked"


def norm_factory(numbers: Any, batch_norm: NormFactory | None) -> Callable[[int], nn.Module]:
    """Return channels -> module with the specification's epsilon and momentum.

    `batch_norm` is called as torch.nn.BatchNorm2d is, and is that class by default. PyTorch's momentum is the share of
    the new value; the specification's is the share that is kept.
    """
    return partial(batch_norm or nn.BatchNorm2d, eps=numbers.epsilon, momentum=round(1 - numbers.momentum, 12))


def without_step_counters(model: nn.Module) -> nn.Module:
    """Remove `num_batches_tracked`, which only a cumulative average reads, so that the buffers are the specification's.

    `load_state_dict` takes states with and without it (torch adds it to those without).
    """
    for module in model.modules():
        if isinstance(getattr(module, _COUNTER, None), torch.Tensor):
            module.register_buffer(_COUNTER, None)
    model.register_load_state_dict_post_hook(_forget_counters)
    return model


def _forget_counters(_: nn.Module, keys: Any) -> None:
    keys.unexpected_keys[:] = [key for key in keys.unexpected_keys if not key.endswith(_COUNTER)]
