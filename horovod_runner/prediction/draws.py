"""What is not known of a machine, as draws: from stated priors, and then by what was measured.

The priors are written down in benchmarks/ladders/README.md, which was committed before anything was scored.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from horovod_runner.prediction.job import expected_maximum, slowest_of

Array = NDArray[np.float64]
GB = 1e9

PRIOR_DRAWS = 40_000
DRAWS = 2_000


@dataclass(frozen=True)
class Draws:
    """One value a draw of everything that a step's time hangs on, each of shape (draws,).

    Computing takes `start` + `per_image` x batch seconds. `latency` in seconds and `bandwidth` in bytes a second:
    within hosts, and between them, where bytes cost (hosts / 2) ** `congestion` as much. While a worker computes, the
    channel works at `overlap` times its speed. `coordination`: seconds a worker and step. `scatter`: the cv of a
    worker's step, which makes the slowest of N late, or, where `measured_steps` were, a factor to their own scatter.
    """

    start: Array
    per_image: Array
    overlap: Array
    latency_within: Array
    latency_between: Array
    bandwidth_within: Array
    bandwidth_between: Array
    congestion: Array
    coordination: Array
    scatter: Array
    measured_steps: Array | None = None  # seconds of many steps of workers that wait for nobody, shape (steps,)

    def __len__(self) -> int:
        return len(self.overlap)

    def take(self, places: NDArray[np.int64]) -> Draws:
        """Return the draws at these places."""
        return self.with_(**{name: getattr(self, name)[places] for name in NAMES})

    def with_(self, **changed: Array | None) -> Draws:
        """Return the draws with some values replaced."""
        return Draws(**{field.name: changed.get(field.name, getattr(self, field.name)) for field in fields(self)})

    def late(self, workers: ArrayLike) -> Array:
        """Return by what share of its computing the slowest of N workers is late, shape (draws, numbers of N)."""
        if self.measured_steps is None:
            return np.outer(self.scatter, expected_maximum(workers))
        return np.outer(self.scatter, slowest_of(self.measured_steps, np.atleast_1d(workers)))


NAMES = tuple(field.name for field in fields(Draws) if field.name != "measured_steps")


def priors(generator: np.random.Generator, count: int = PRIOR_DRAWS) -> Draws:
    """Return draws from the priors; computing is not known yet, and is one second a step."""

    def decades(low: float, high: float) -> Array:
        return np.asarray(np.exp(generator.uniform(np.log(low), np.log(high), count)))

    return Draws(
        start=np.zeros(count),
        per_image=np.ones(count),
        overlap=(1 - generator.uniform(size=count)) ** 2,
        latency_within=decades(2e-6, 50e-6),
        latency_between=decades(10e-6, 300e-6),
        bandwidth_within=decades(0.5 * GB, 200 * GB),
        bandwidth_between=decades(0.02 * GB, 50 * GB),
        congestion=generator.uniform(0, 0.3, count),
        coordination=decades(1e-6, 100e-6),
        scatter=decades(0.003, 0.03),
    )
