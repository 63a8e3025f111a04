"""Numbers over seeds: means, paired differences and slopes with intervals in which a seed is one sample.

Nothing of ours is imported but `stats`, and SciPy only when a quantile is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from horovod_runner.statistics.interval import FEWEST_SAMPLES, Interval

DRAWS = 10_000
ROUNDING = 1e-12
Z95 = 1.959963984540054  # the normal distribution's 97.5 % quantile


def over_seeds(values: ArrayLike) -> Interval:
    """Return the mean of a figure over seeds with its 95 % interval by Student's t; no bounds below three seeds."""
    samples = np.asarray(values, dtype=np.float64)
    mean = float(samples.mean())
    if abs(mean) < ROUNDING * float(np.abs(samples).max()):
        mean = 0.0  # differences that cancel but for rounding
    if len(samples) < FEWEST_SAMPLES:
        return Interval(mean, None, None)
    from scipy.special import stdtrit

    half = float(stdtrit(len(samples) - 1, 0.975) * samples.std(ddof=1) / math.sqrt(len(samples)))
    return Interval(mean, mean - half, mean + half)


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> NDArray[np.float64]:
    """Return first less second for every seed that both have, in the order of seeds."""
    shared = sorted(first.keys() & second.keys())
    return np.array([first[seed] - second[seed] for seed in shared], dtype=np.float64)


def mean_of(tables: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Return the mean over several figures for every seed that all of them have; empty of none."""
    if not tables:
        return {}
    shared = set.intersection(*(set(table) for table in tables))
    return {seed: math.fsum(table[seed] for table in tables) / len(tables) for seed in sorted(shared)}


def apart(interval: Interval, step: float = 0.0) -> bool:
    """Whether a difference is one: its interval leaves 0 out, and it is no smaller than the figure's resolution."""
    return interval.leaves_out(0) and abs(interval.mean) >= step * (1 - 1e-6)


def share(successes: int, tried: int) -> Interval:
    """Return a share of tries with its 95 % score interval (Wilson, "Probable inference", JASA 22, 1927, p. 209)."""
    if tried == 0:
        raise ValueError("a share needs at least one try")
    part, squared = successes / tried, Z95**2 / tried
    middle = (part + squared / 2) / (1 + squared)
    half = Z95 * math.sqrt(part * (1 - part) / tried + squared / (4 * tried)) / (1 + squared)
    low = 0.0 if successes == 0 else middle - half  # exactly so, where rounding would leave 1e-17
    return Interval(part, low, 1.0 if successes == tried else middle + half)


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


def least_enough(means: ArrayLike, settings: ArrayLike, slack: float) -> NDArray[np.float64]:
    """Return the smallest setting, shape (...), whose mean is at most `slack` below the largest; means (..., settings).

    `settings` ascend. Where a plateau is wide the best of it is chance, and this is its beginning.
    """
    values, choices = np.asarray(means, dtype=np.float64), np.asarray(settings, dtype=np.float64)
    enough = values >= values.max(axis=-1, keepdims=True) - slack - 1e-12
    return np.asarray(choices[enough.argmax(axis=-1)])


def resampled(
    samples: NDArray[np.float64], of_means: Callable[[NDArray[np.float64]], NDArray[np.float64]], seed: int = 0
) -> Interval:
    """Return a figure that is computed from means over seeds, with a 95 % interval by bootstrap over seeds.

    `samples` has the shape (..., seeds); `of_means` takes means of the shape (draws, ...) and returns (draws,). A draw
    takes the same seeds for every entry, which share them. The percentiles are expanded, since a bootstrap of few
    samples is too narrow (Hesterberg, "What teachers should know about the bootstrap", The American Statistician 69,
    2015): at five seeds they nearly are the extremes. No bounds below three seeds.
    """
    count = samples.shape[-1]
    figure = float(of_means(samples.mean(axis=-1)[None])[0])
    if count < FEWEST_SAMPLES:
        return Interval(figure, None, None)
    from scipy.special import ndtr, stdtrit

    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=DRAWS) / count
    figures = of_means(np.moveaxis(samples @ drawn.T, -1, 0))
    tail = float(ndtr(-math.sqrt(count / (count - 1)) * stdtrit(count - 1, 0.975)))
    low, high = np.quantile(figures, [tail, 1 - tail])
    return Interval(figure, float(low), float(high))
