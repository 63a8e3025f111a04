"""What is installed of PyTorch, as the doctor asks it in a process of its own."""

from __future__ import annotations

import torch


def version() -> str:
    """Return the version."""
    return str(torch.__version__)


def gpus() -> list[str]:
    """Return the names of the GPUs that it finds."""
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
