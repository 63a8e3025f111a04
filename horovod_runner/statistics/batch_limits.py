"""How far the batch of one arm can grow: steps to target at the best rate, their law, and where it stops helping.

Pure: numbers in, numbers out. The seed is the unit of every interval: what is resampled are whole seeds, at all batches
and rates at once, and the best rate is chosen anew within each resample, because a rate that was chosen and judged on
the same seeds looks better than it is. The interval carries how far that choice wavers; it does not take all of the
optimism out of the estimate itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from horovod_runner.statistics.bootstrap import RESAMPLES, expansion, percentiles
from horovod_runner.statistics.interval import FEWEST_SAMPLES, Interval

Array = NDArray[np.float64]

FEWEST_BATCHES = 3  # for two parameters, so that the law can fail to fit
TOLERANCE = 0.2  # more examples to target than at the smallest batch that still pass for perfect scaling
BEYOND = 1000.0  # times the batches at both ends, between which B_crit is looked for
COARSE, FINE = 121, 33
MOST_STEPS = 1e11  # more than any run has


@dataclass(frozen=True)
class Trials:
    """Steps to target of every trial of one arm: at each batch its own rates, everywhere the same seeds.

    `steps[i]` are those of `batches[i]`, shape (rates, seeds), infinite where a trial missed the target within its
    budget; rates and batches ascend.
    """

    batches: tuple[int, ...]
    rates: tuple[tuple[float, ...], ...]
    seeds: tuple[int, ...]
    steps: tuple[Array, ...]


class CriticalBatchFit(NamedTuple):
    """S(B) = s_min (1 + b_crit / B), each value an array of the same shape; `rms` is that of log S.

    Steps that fall like 1/B throughout have s_min 0 and an infinite b_crit, steps that never fall a b_crit of 0: the
    batches do not hold the bend. NaN where fewer than three batches have steps.
    """

    s_min: Array
    b_crit: Array
    rms: Array

    def steps(self, batch: ArrayLike) -> Array:
        """Return S(B)."""
        return np.asarray(self.s_min * (1 + self.b_crit / np.asarray(batch, dtype=float)))


@dataclass(frozen=True)
class Limits:
    """What the trials of one arm say. `chosen` are places in the rates of each batch; steps are medians over seeds.

    `drawn` and `drawn_fit` are the same of every resample, shape (resamples, batches) and (resamples,); `perfect` and
    `plateau` are places in the batches, None where the trials hold none; below three seeds no plateau can be told.
    """

    trials: Trials
    chosen: tuple[int, ...]
    steps: Array
    drawn: Array
    fit: CriticalBatchFit
    drawn_fit: CriticalBatchFit
    perfect: int | None
    plateau: int | None

    def interval(self, place: int) -> Interval:
        """Return the steps to target at a batch and their 95 % percentile interval."""
        if len(self.trials.seeds) < FEWEST_SAMPLES:
            return Interval(float(self.steps[place]), None, None)
        return percentiles(float(self.steps[place]), self.drawn[:, place])

    def reached(self, place: int) -> int:
        """Return how many seeds reached the target at a batch's best rate."""
        return int(np.isfinite(self.trials.steps[place][self.chosen[place]]).sum())

    def regime(self, place: int) -> str | None:
        """Return the name that Shallue et al. 2019 (arXiv:1811.03600) give to the part of the curve a batch is in.

        None where the target was missed.
        """
        if not math.isfinite(self.steps[place]):
            return None
        if self.plateau is not None and place >= self.plateau:
            return "maximal data parallelism"
        if self.perfect and place <= self.perfect:  # that the smallest batch is as good as itself says nothing
            return "perfect scaling"
        return "diminishing returns"


def resamples(seeds: int, count: int = RESAMPLES) -> NDArray[np.int64]:
    """Return places of seeds as other draws of seeds might have been, shape (count, seeds): always the same ones.

    Arms that share their seeds are resampled together by these, which pairs them.
    """
    return np.random.default_rng(0).integers(0, seeds, (count, seeds))


def limits(trials: Trials, resolution: Sequence[float]) -> Limits:
    """Return what the trials of one arm say.

    `resolution`: steps between validations at each batch, within which steps to target are not known.
    """
    seeds = len(trials.seeds)
    chosen = tuple(int(best_rate(steps)) for steps in trials.steps)
    whole = steps_at_best(trials, np.arange(seeds)[None])[0]
    drawn = steps_at_best(trials, resamples(seeds))
    batches = np.array(trials.batches, dtype=float)
    return Limits(
        trials,
        chosen,
        whole,
        drawn,
        fit(batches, whole),
        fit(batches, drawn),
        perfect_scaling_end(batches, whole),
        plateau_start(whole, drawn, resolution) if seeds >= FEWEST_SAMPLES else None,
    )


def best_rate(steps: Array) -> NDArray[np.int64]:
    """Return the place of the best rate, from steps of shape (rates, ..., seeds); the result has the shape between.

    Best is the smallest median over seeds (the protocol of Shallue et al. 2019, in which every batch is tuned for
    itself; theirs takes the best of all trials). A rate at which more seeds miss the target is worse,
    whatever its median. Of equals the first, which is the smallest rate.
    """
    missed = np.isinf(steps).sum(axis=-1)
    rank = missed * (10 * MOST_STEPS) + np.minimum(np.median(steps, axis=-1), MOST_STEPS)
    return np.asarray(rank.argmin(axis=0))


def steps_at_best(trials: Trials, draws: NDArray[np.int64]) -> Array:
    """Return median steps to target at the best rate, chosen within each draw of seeds; shape (draws, batches)."""
    columns = []
    for steps in trials.steps:
        drawn = steps[:, draws]
        chosen = best_rate(drawn)
        columns.append(np.median(drawn[chosen, np.arange(len(draws))], axis=-1))
    return np.stack(columns, axis=-1)


def fit(batches: ArrayLike, steps: ArrayLike) -> CriticalBatchFit:
    """Fit S(B) = S_min (1 + B_crit / B) (McCandlish et al. 2018, arXiv:1812.06162) by least squares of log S.

    `steps`: shape (..., batches); infinite ones are left out. Given B_crit, log S_min is a mean of residuals, so that
    B_crit alone is looked for: on a logarithmic grid, then on a finer one around its best place, then by a parabola.
    """
    size = np.log(np.asarray(batches, dtype=float))
    logs = np.asarray(steps, dtype=float).reshape(-1, len(size))
    known = np.isfinite(logs)
    logs = np.log(np.where(known, logs, 1.0))
    first, last = float(size[0]) - math.log(BEYOND), float(size[-1]) + math.log(BEYOND)
    grid = np.broadcast_to(np.linspace(first, last, COARSE), (len(logs), COARSE))
    place = _least(grid, logs, size, known)
    low, high = place <= grid[:, 0], place >= grid[:, -1]
    step = grid[0, 1] - grid[0, 0]
    place = _least(place[:, None] + np.linspace(-step, step, FINE), logs, size, known)
    offset, rms = _residuals(place[:, None], logs, size, known)
    few = known.sum(axis=1) < FEWEST_BATCHES
    level = np.where(low, (logs * known).sum(axis=1) / np.maximum(1, known.sum(axis=1)), offset[:, 0])
    s_min = np.where(few, np.nan, np.where(high, 0.0, np.exp(level)))
    b_crit = np.where(few, np.nan, np.where(high, np.inf, np.where(low, 0.0, np.exp(place))))
    shape = np.asarray(steps).shape[:-1]
    return CriticalBatchFit(
        s_min.reshape(shape), b_crit.reshape(shape), np.where(few, np.nan, rms[:, 0]).reshape(shape)
    )


def _least(grid: Array, logs: Array, size: Array, known: NDArray[np.bool_]) -> Array:
    """Return where on each row's grid of log B_crit the residuals are least, between its points by a parabola."""
    rms = _residuals(grid, logs, size, known)[1]
    rows, best = np.arange(len(grid)), rms.argmin(axis=1)
    inner = np.clip(best, 1, grid.shape[1] - 2)
    before, at, after = (rms[rows, inner + shift] ** 2 for shift in (-1, 0, 1))
    bend = before - 2 * at + after
    shift = np.where(bend > 0, 0.5 * (before - after) / np.where(bend > 0, bend, 1.0), 0.0)
    step = grid[:, 1] - grid[:, 0]
    return np.asarray(np.where(best == inner, grid[rows, inner] + shift * step, grid[rows, best]))


def _residuals(grid: Array, logs: Array, size: Array, known: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Return log S_min and the root mean square of what is left, for each row's values of log B_crit."""
    left = logs[:, None, :] - np.logaddexp(0.0, grid[:, :, None] - size)
    weight = known[:, None, :] / np.maximum(1, known.sum(axis=1))[:, None, None]
    offset = (left * weight).sum(axis=2)
    return offset, np.sqrt(((left - offset[:, :, None]) ** 2 * weight).sum(axis=2))


def perfect_scaling_end(batches: Array, steps: Array) -> int | None:
    """Return the place of the largest batch up to which doubling the batch halves the steps; None where nothing is.

    In log-log axes that is the part of slope -1 (Shallue et al. 2019). Batches pass as long as the
    examples to target, B S(B), are at most 20 % more than at the smallest: small losses may not add up unnoticed.
    """
    if len(batches) == 0 or not math.isfinite(steps[0]):
        return None
    perfect = batches * steps <= (1 + TOLERANCE) * batches[0] * steps[0]
    return int(np.argmin(perfect) if not perfect.all() else len(perfect)) - 1


def plateau_start(steps: Array, drawn: Array, resolution: Sequence[float]) -> int | None:
    """Return the place of the maximum useful batch: where maximal data parallelism begins (Shallue et al. 2019).

    It is the smallest batch from which on no batch up to that of the fewest steps takes distinguishably more than
    these: the 95 % interval of their ratio over resampled seeds includes 1, or the two differ by no more than steps
    between validations. None where that is the largest batch itself: a larger one might do with fewer still.
    """
    if drawn.shape[1] == 0 or not np.isfinite(steps).any():
        return None
    least = start = int(np.argmin(steps))
    while start > 0 and _alike(start - 1, least, steps, drawn, resolution):
        start -= 1
    return start if start < len(steps) - 1 else None


def _alike(place: int, least: int, steps: Array, drawn: Array, resolution: Sequence[float]) -> bool:
    if not math.isfinite(steps[place]):
        return False
    if steps[place] - steps[least] < resolution[place]:
        return True
    with np.errstate(invalid="ignore"):
        ratio = drawn[:, place] / drawn[:, least]
    return bool(np.quantile(np.nan_to_num(ratio, nan=1.0, posinf=np.inf), 0.025, method="inverted_cdf") <= 1)


def widened(value: float, drawn: Array, seeds: int) -> Interval:
    """Return the 95 % interval of a positive estimate that is smooth in its samples, from its resamples.

    The distances of the resampled values are widened on the logarithmic scale by what percentiles are too narrow for
    few samples. Bounds may be 0 and infinite; there are none below three seeds, or
    where more than a twentieth of the resamples give no value.
    """
    told = drawn[~np.isnan(drawn)]
    if seeds < FEWEST_SAMPLES or math.isnan(value) or len(told) < 0.95 * len(drawn):
        return Interval(value, None, None)
    if 0 < value < math.inf:
        with np.errstate(over="ignore"):
            told = value * (told / value) ** expansion(seeds)
    return percentiles(value, told)


def quotient(one: Array, other: Array) -> Array:
    """Return one / other without complaint: NaN where both are 0 or both infinite."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.divide(one, other))
