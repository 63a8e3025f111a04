"""What is simulated: a job's gradients, when they are ready, how long computing takes, how workers differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

FORWARD = 1 / 3
"""The share of computing that the forward pass takes: one of three products of equal size a layer."""
PIECES = 32
MIB = 1024.0**2
FUSION_BYTES = 64 * MIB
CYCLE_SECONDS = 1e-3


@dataclass(frozen=True)
class Gradients:
    """A job's gradients in the order in which they become ready.

    `sizes`: bytes of each, shape (gradients,); `ready`: when, as a share of the backward pass, ascending, 0 to 1.
    """

    sizes: Array
    ready: Array

    @property
    def total(self) -> float:
        """Bytes of all gradients."""
        return float(self.sizes.sum())

    def scaled(self, factor: float) -> Gradients:
        """Return the same gradients with so many times the bytes."""
        return Gradients(self.sizes * factor, self.ready)


def evenly(total: float, pieces: int = PIECES) -> Gradients:
    """Return gradients of so many bytes together that appear evenly over the backward pass."""
    return Gradients(np.full(pieces, total / pieces), np.arange(1, pieces + 1) / pieces)


def measured(sizes: ArrayLike, seconds: ArrayLike) -> Gradients:
    """Return gradients with the seconds since a step's begin at which each was handed over, as a profile has them.

    The first marks the begin of the backward pass as far as anyone can see, and the last its end.
    """
    size, moment = np.asarray(sizes, float), np.asarray(seconds, float)
    order = np.argsort(moment, kind="stable")
    span = float(np.ptp(moment))
    ready = (moment[order] - moment.min()) / span if span > 0 else np.ones(len(moment))
    return Gradients(size[order], ready)


@dataclass(frozen=True)
class Pattern:
    """How a strategy moves gradients, with its settings. `fusion_bytes` 0: each gradient by itself.

    `when`: `ready`, as they appear; `after` the backward pass, all at once; `next`, under the following step; `never`.
    `gathers`: half of the traffic, the gathering of parameters, waits for the next forward pass. `coordinated`: by
    Horovod, whose coordination grows with the workers; `bytes_factor`: what compression leaves of the bytes.
    """

    when: str = "ready"
    fusion_bytes: float = FUSION_BYTES
    cycle_seconds: float = CYCLE_SECONDS
    gathers: bool = False
    coordinated: bool = True
    bytes_factor: float = 1.0


PATTERNS: dict[str, Pattern] = {
    "none": Pattern("never", coordinated=False),
    "blocking": Pattern("after", math.inf, 0.0, coordinated=False),
    "unfused": Pattern(fusion_bytes=0.0),
    "fused": Pattern(),
    "grouped": Pattern("after", math.inf),
    "multistep": Pattern(gathers=True),
    "lag1": Pattern("next"),
}
"""The strategies of config/strategies.py as the model knows them."""


def expected_maximum(workers: ArrayLike) -> Array:
    """Return the expected maximum of so many standard normals, for each number of workers; 0 for one.

    Blom, "Statistical Estimates and Transformed Beta-Variables", 1958: the quantile at (N - 0.375) / (N + 0.25).
    """
    from scipy.special import ndtri

    count = np.asarray(workers, float)
    return np.asarray(ndtri((count - 0.375) / (count + 0.25)))


def slowest_of(seconds: ArrayLike, workers: ArrayLike) -> Array:
    """Return the expected maximum of N draws of measured times over their mean, less 1, for each N.

    `seconds`: (n,). Exact for draws with replacement, sum of x_(i) ((i / n)^N - ((i - 1) / n)^N); N far beyond n is
    bounded by the largest time that was seen.
    """
    times = np.sort(np.asarray(seconds, float))
    share = np.arange(len(times) + 1) / len(times)
    powers = share[None, :] ** np.asarray(workers, float).reshape(-1, 1)
    late = np.diff(powers, axis=1) @ times / times.mean() - 1
    return np.asarray(late.reshape(np.shape(workers)))


def batches_line(batches: Sequence[float], seconds: ArrayLike) -> tuple[Array, Array]:
    """Return a and k of seconds = a + k batch, through times of shape (..., batches), neither of them negative.

    With one batch a is 0.
    """
    x, y = np.asarray(batches, float), np.asarray(seconds, float)
    if len(set(x.tolist())) == 1:
        return np.zeros(y.shape[:-1]), y.mean(axis=-1) / x[0]
    centred = x - x.mean()
    slope = (y @ centred / (centred @ centred)).clip(0)
    start = y.mean(axis=-1) - slope * x.mean()
    through_origin = y @ x / (x @ x)
    return start.clip(0), np.where(start < 0, through_origin, slope)
