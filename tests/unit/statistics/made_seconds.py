"""Step seconds that resemble each other, as real ones do."""

from __future__ import annotations

import math

import numpy as np
from scipy.signal import lfilter


def correlated_seconds(generator: np.random.Generator, steps: int, correlation: float) -> np.ndarray:
    """Step seconds around 0.1 whose noise is a first-order autoregression, drawn in its steady state."""
    noise = generator.normal(size=steps + 200)
    return 0.1 + 0.01 * lfilter([1.0], [1.0, -correlation], noise)[200:] * math.sqrt(1 - correlation**2)
