"""What is installed of NumPy, as the doctor asks it in a process of its own."""

from __future__ import annotations

import numpy as np


def version() -> str:
    """Return NumPy's version."""
    return np.__version__


def gpus() -> list[str]:
    """It finds none."""
    return []
