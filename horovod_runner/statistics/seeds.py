"""Numbers over seeds: means, paired differences and slopes with intervals in which a seed is one sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from horovod_runner.statistics import student
from horovod_runner.statistics.bootstrap import expanded, expansion
from horovod_runner.statistics.interval import FEWEST_SAMPLES, LEVEL, Interval

DRAWS = 10_000
MOST_SEEDS = 1000

Values = ArrayLike | Mapping[int, float]
"""A figure of every seed, by seed or in any order."""


def over_seeds(values: Values) -> Interval:
    """Return the mean of a figure over seeds with its 95 % interval by Student's t; no bounds below three seeds."""
    samples = np.array([*values.values()] if isinstance(values, Mapping) else values, dtype=np.float64)
    mean = float(samples.mean())
    if abs(mean) < student.ROUNDING * float(np.abs(samples).max()):
        mean = 0.0  # differences that cancel but for rounding
    return student.around(mean, samples)


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> dict[int, float]:
    """Return first less second for every seed that both have, in the order of seeds."""
    return {seed: first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())}


def mean_of(tables: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Return the mean over several figures for every seed that all of them have; empty of none."""
    if not tables:
        return {}
    shared = set.intersection(*(set(table) for table in tables))
    return {seed: math.fsum(table[seed] for table in tables) / len(tables) for seed in sorted(shared)}


def apart(interval: Interval, step: float = 0.0) -> bool:
    """Whether a difference is one: its interval leaves 0 out, and it is no smaller than the figure's resolution."""
    return interval.leaves_out(0) and abs(interval.mean) >= step * (1 - 1e-6)


def p_value(differences: Values) -> float | None:
    """Return the two-sided p-value that the mean of paired differences is 0, by Student's t; None below three."""
    samples = np.array([*differences.values()] if isinstance(differences, Mapping) else differences, dtype=np.float64)
    if len(samples) < FEWEST_SAMPLES:
        return None
    p = student.below(samples)
    return 2 * min(p, 1 - p)


class Verdict(StrEnum):
    """What may be claimed of a difference in a figure of which more is better."""

    BETTER = "better"
    WORSE = "worse"
    INDISTINGUISHABLE = "indistinguishable"
    TOO_FEW = "too few to tell"


def verdict(difference: Interval, step: float = 0.0) -> Verdict:
    """Say what may be claimed of a difference; below `step`, the figure's resolution, it is none.

    Nothing may be claimed of one without bounds, which is of fewer than three seeds.
    """
    if difference.ci95_low is None:
        return Verdict.TOO_FEW
    if not apart(difference, step):
        return Verdict.INDISTINGUISHABLE
    return Verdict.BETTER if difference.mean > 0 else Verdict.WORSE


def needed(differences: Values, level: float = LEVEL) -> int | None:
    """Return about how many seeds would show the mean of paired differences, were it and its scatter as they look.

    At least three, and as many as it takes for Student's interval of confidence 1 - `level` to leave 0 out. None where
    that would be more than MOST_SEEDS, or there is no scatter to go by.
    """
    samples = np.array([*differences.values()] if isinstance(differences, Mapping) else differences, dtype=np.float64)
    if len(samples) < 2:
        return None
    mean, scatter = abs(float(samples.mean())), float(np.std(samples, ddof=1))
    enough = (
        n for n in range(FEWEST_SAMPLES, MOST_SEEDS + 1) if student.quantile(n - 1, level) * scatter < mean * n**0.5
    )
    return next(enough, None)


def share(successes: int, tried: int) -> Interval:
    """Return a share of tries with its 95 % score interval (Wilson, "Probable inference", JASA 22, 1927, p. 209)."""
    if tried == 0:
        raise ValueError("a share needs at least one try")
    from scipy.stats import binomtest  # half a second, which only those wait who ask for a share

    bounds = binomtest(successes, tried).proportion_ci(1 - LEVEL, method="wilson")
    return Interval(successes / tried, float(bounds.low), float(bounds.high))


def slope(x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
    """Return the least-squares slope of y, shape (..., points), on x, shape (points,)."""
    points = np.asarray(x, dtype=np.float64)
    apart = points - points.mean()
    return np.asarray(np.asarray(y, dtype=np.float64) @ apart / (apart @ apart))


def best_setting(means: ArrayLike, settings: ArrayLike) -> NDArray[np.float64]:
    """Return the setting with the largest mean, shape (...), of means with the shape (..., settings).

    Of equal ones their mean: the first of them would be no finding. (Equal: but for rounding.)
    """
    values, choices = np.asarray(means, dtype=np.float64), np.asarray(settings, dtype=np.float64)
    largest = values >= values.max(axis=-1, keepdims=True) - 1e-12
    return np.asarray((largest * choices).sum(axis=-1) / largest.sum(axis=-1))


def minimum_sufficient(means: ArrayLike, settings: ArrayLike, slack: float) -> NDArray[np.float64]:
    """Return the smallest setting, shape (...), whose mean is at most `slack` below the largest; means (..., settings).

    `settings` ascend. Where a plateau is wide the best of it is chance, and this is its beginning.
    """
    values, choices = np.asarray(means, dtype=np.float64), np.asarray(settings, dtype=np.float64)
    sufficient = values >= values.max(axis=-1, keepdims=True) - slack - 1e-12
    return np.asarray(choices[sufficient.argmax(axis=-1)])


def bracket(chosen: Interval, settings: Sequence[float]) -> tuple[float | None, float]:
    """Return between which of the ascending settings a threshold lies: above the first, at most the second.

    A threshold is known no better than the grid, and not better than the scatter of the choice. The first is None where
    the smallest setting may be enough.
    """
    low = chosen.mean if chosen.ci95_low is None else chosen.ci95_low
    high = chosen.mean if chosen.ci95_high is None else chosen.ci95_high
    below = [setting for setting in settings if setting < min(setting for setting in settings if setting >= low)]
    return (below[-1] if below else None), min(setting for setting in settings if setting >= high)


def slope_between(x: ArrayLike, brackets: Sequence[tuple[float | None, float]]) -> tuple[float, float]:
    """Return the least and the largest least-squares slope of thresholds that lie within their brackets."""
    points = np.asarray(x, dtype=np.float64)
    weights = (points - points.mean()) / ((points - points.mean()) ** 2).sum()
    low = np.array([high if below is None else below for below, high in brackets])
    high = np.array([high for _, high in brackets])
    least = float(np.where(weights > 0, weights * low, weights * high).sum())
    return least, float(np.where(weights > 0, weights * high, weights * low).sum())


def resampled(
    samples: NDArray[np.float64], of_means: Callable[[NDArray[np.float64]], NDArray[np.float64]], seed: int = 0
) -> Interval:
    """Return a figure that is computed from means over seeds, with a 95 % interval by bootstrap over seeds.

    `samples` has the shape (..., seeds); `of_means` takes means of the shape (draws, ...) and returns (draws,). A draw
    takes the same seeds for every entry, which share them. The percentiles are expanded (see `bootstrap`): at five
    seeds they nearly are the extremes. No bounds below three seeds.
    """
    count = samples.shape[-1]
    figure = float(of_means(samples.mean(axis=-1)[None])[0])
    if count < FEWEST_SAMPLES:
        return Interval(figure, None, None)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=DRAWS) / count
    figures = of_means(np.moveaxis(samples @ drawn.T, -1, 0))
    return expanded(figure, figures, expansion(count))
