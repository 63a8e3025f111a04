"""From priors to what measurements leave of them: draws are solved for computing, weighted, and taken by their weights.

The rule is written down in benchmarks/ladders/README.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from horovod_runner.prediction.draws import DRAWS, Draws, priors
from horovod_runner.prediction.job import Gradients, Pattern, batches_line
from horovod_runner.prediction.step import Parts, simulate

Array = NDArray[np.float64]

ERROR = 0.015
"""The standard deviation of a log step time that a measurement is trusted with, beside its own."""
DISCREPANCY = 0.03
"""What the model itself may be off in log step time, a square root of a doubling beyond what was measured."""
FEWEST_EFFECTIVE = 100
SOLVING, SOLVED = 12, 1e-3


@dataclass(frozen=True)
class Observed:
    """A measured step: workers, images a worker, seconds; `error`: standard deviation of its logarithm."""

    workers: int
    batch: float
    seconds: float
    error: float = ERROR


@dataclass(frozen=True)
class Setup:
    """What is the same for all numbers of workers: the job's gradients, how they move, and workers on a host."""

    gradients: Gradients
    pattern: Pattern
    per_host: int

    def parts(self, draws: Draws, workers: ArrayLike, batch: ArrayLike) -> Parts:
        """Return the parts of a step, each of shape (draws, numbers of workers)."""
        return simulate(self.gradients, self.pattern, draws, workers, self.per_host, batch)

    def step(self, draws: Draws, workers: ArrayLike, batch: ArrayLike) -> Array:
        """Return the seconds of a step, shape (draws, numbers of workers)."""
        return self.parts(draws, workers, batch).step


@dataclass(frozen=True)
class Calibrated:
    """Draws that agree with what was measured up to `largest` workers.

    `misfit`: by what factor the trusted error had to grow before enough draws agreed. `discrepancy`: what the model may
    be off in log step time, a square root of a doubling beyond the largest.
    """

    setup: Setup
    draws: Draws
    largest: int
    misfit: float = 1.0
    discrepancy: float = DISCREPANCY

    def uncertain(self, seconds: Array, workers: ArrayLike, generator: np.random.Generator) -> Array:
        """Return step times, shape (draws, numbers of workers), with the model's own discrepancy added to each draw.

        One deviate a draw: the model is off in the same direction for all N.
        """
        beyond = np.log2(np.maximum(1.0, np.asarray(workers, float) / self.largest))
        deviate = generator.standard_normal(len(seconds))[:, None]
        return np.asarray(seconds * np.exp(self.discrepancy * np.sqrt(beyond) * deviate))


def fitted_to_ladder(setup: Setup, rows: Sequence[Observed], generator: np.random.Generator) -> Calibrated:
    """Return draws that agree with the rows, computing among what is fitted; at least two numbers of workers.

    Where the others tell of a network without the largest (several hosts among them, and more rows than make computing
    come out), the discrepancy is what predicting it from them was off, if that is more than the usual one.
    """
    made = _fitted(setup, rows, generator)
    largest = made.largest
    others = [row for row in rows if row.workers < largest]
    if len(others) <= len({row.batch for row in others}) or max(row.workers for row in others) <= setup.per_host:
        return made
    blind = _fitted(setup, others, generator)
    left_out = [row for row in rows if row.workers == largest]
    off = [
        abs(math.log(float(np.median(blind.setup.step(blind.draws, r.workers, r.batch))) / r.seconds)) for r in left_out
    ]
    doublings = math.log2(largest / blind.largest)
    discrepancy = max(DISCREPANCY, float(np.mean(off)) / math.sqrt(doublings))
    return Calibrated(setup, made.draws, largest, made.misfit, discrepancy)


def _fitted(setup: Setup, rows: Sequence[Observed], generator: np.random.Generator) -> Calibrated:
    first = {row.batch: row for row in sorted(rows, key=lambda row: -row.workers)}  # of each batch the fewest workers
    draws, solved = _with_computing(setup, priors(generator), list(first.values()), generator)
    rest = [row for row in rows if row not in first.values()]
    return weighted(setup, draws, rest, generator, solved, max(row.workers for row in rows))


def _with_computing(
    setup: Setup, draws: Draws, rows: Sequence[Observed], generator: np.random.Generator
) -> tuple[Draws, NDArray[np.bool_]]:
    """Return draws whose computing makes these rows, one a batch, come out as measured; and where that is possible."""
    computing, possible = [], np.ones(len(draws), bool)
    for row in rows:
        target = row.seconds * np.exp(row.error * generator.standard_normal(len(draws)))
        seconds, solved = _solved(setup, draws, row, target)
        computing.append(seconds)
        possible &= solved
    start, per_image = batches_line([row.batch for row in rows], np.stack(computing, axis=-1))
    return draws.with_(start=start, per_image=per_image), possible


def _solved(setup: Setup, draws: Draws, row: Observed, target: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Return the computing with which each draw's step takes its target's seconds, and whether there is one."""
    seconds, left = target.copy(), np.arange(len(draws))
    for _ in range(SOLVING):
        trial = draws.take(left).with_(start=seconds[left], per_image=np.zeros(len(left)))
        missing = target[left] - setup.step(trial, row.workers, row.batch)[:, 0]
        off = np.abs(missing) > SOLVED * target[left]
        left = left[off]
        seconds[left] = np.maximum(seconds[left] + missing[off], SOLVED * target[left])
        if not len(left):
            break
    possible = np.ones(len(draws), bool)
    possible[left] = False
    return seconds, possible


def weighted(
    setup: Setup,
    draws: Draws,
    rows: Sequence[Observed],
    generator: np.random.Generator,
    possible: NDArray[np.bool_] | None = None,
    largest: int = 1,
) -> Calibrated:
    """Return draws taken by how likely they make the rows; errors grow until enough of them agree."""
    distance = np.zeros(len(draws))
    for row in rows:
        step = setup.step(draws, row.workers, row.batch)[:, 0]
        distance += (np.log(step / row.seconds) / row.error) ** 2
    if possible is not None and possible.any():
        distance = np.where(possible, distance, np.inf)
    misfit = 1.0
    weights = _weights(distance)
    while 1 / (weights**2).sum() < FEWEST_EFFECTIVE and misfit < 100:
        misfit *= 1.25
        weights = _weights(distance / misfit**2)
    taken = _systematic(weights, DRAWS, generator)
    return Calibrated(setup, draws.take(taken), largest, misfit)


def _weights(distance: Array) -> Array:
    weights = np.exp(-0.5 * (distance - distance.min()))
    return np.asarray(weights / weights.sum())


def _systematic(weights: Array, count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return places drawn by weight at evenly spaced quantiles, in random order."""
    at = (np.arange(count) + generator.uniform()) / count
    return generator.permutation(np.searchsorted(np.cumsum(weights), at).clip(0, len(weights) - 1))
