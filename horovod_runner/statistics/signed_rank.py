"""Paired differences of which some are infinite: their median, its interval and equivalence, by signed ranks.

A trial that misses its target takes longer than any that does not, by an unknown amount. So it counts as infinitely
long, and what is said must not depend on how long that is: ranks do not. Exact, for any number of pairs.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from horovod_runner.statistics.equivalence import Equivalence
from horovod_runner.statistics.interval import LEVEL, Interval

Array = NDArray[np.float64]


def walsh(differences: ArrayLike) -> Array:
    """Return the means of all pairs of differences, each with itself too, ascending; of opposite infinities 0."""
    values = np.asarray(differences, dtype=np.float64)
    first, second = np.triu_indices(len(values))
    with np.errstate(invalid="ignore"):
        means = (values[first] + values[second]) / 2
    return np.sort(np.where(np.isnan(means), 0.0, means))


def median(differences: ArrayLike) -> Interval:
    """Return the pseudo-median and its 95 % interval (Hodges and Lehmann 1963, after Wilcoxon's signed ranks).

    Bounds may be infinite. They are None where so few pairs cannot reach 95 %: below six.
    """
    means = walsh(differences)
    cut = _critical(len(np.asarray(differences)), LEVEL / 2)
    middle = means[(len(means) - 1) // 2], means[len(means) // 2]
    centre = float(middle[0] if middle[0] == middle[1] else np.mean(middle))
    if cut is None:
        return Interval(centre, None, None)
    return Interval(centre, float(means[cut]), float(means[-1 - cut]))


def equivalence(differences: ArrayLike, margin: float) -> Equivalence:
    """Test that the median of paired differences lies within +-margin: two one-sided signed-rank tests.

    Differences at the margin itself count against it. ValueError without a difference.
    """
    values = np.asarray(differences, dtype=np.float64)
    if not len(values):
        raise ValueError("an equivalence test needs a difference")
    means, count = walsh(values), len(values)
    p = max(_at_least(count, int((means > -margin).sum())), _at_least(count, int((means < margin).sum())))
    cut = _critical(count, LEVEL)
    low, high = (-math.inf, math.inf) if cut is None else (float(means[cut]), float(means[-1 - cut]))
    return Equivalence(p, median(values).mean, low, high)


@cache
def _probabilities(count: int) -> tuple[float, ...]:
    """Return the probability of each sum of positive ranks, 0 to count (count + 1) / 2, where signs are by chance."""
    ways = [1] + [0] * (count * (count + 1) // 2)
    for rank in range(1, count + 1):
        for total in range(len(ways) - 1, rank - 1, -1):
            ways[total] += ways[total - rank]
    return tuple(way / 2**count for way in ways)


def _at_least(count: int, total: int) -> float:
    """Return how probable it is that positive ranks sum to no less than `total`."""
    return math.fsum(_probabilities(count)[total:])


def _critical(count: int, tail: float) -> int | None:
    """Return the largest sum whose lower tail is no more probable than `tail`; None where even 0 is."""
    reached, found = 0.0, None
    for total, probability in enumerate(_probabilities(count)):
        reached += probability
        if reached > tail:
            break
        found = total
    return found
