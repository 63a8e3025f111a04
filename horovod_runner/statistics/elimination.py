"""Which of several arms is no longer worth measuring, and whether the best one beats the default: pure statistics.

All arms are measured once a round, in random order, and compared within rounds only, on the logarithmic scale: what
slows the whole machine for a while slows them alike and cancels.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from horovod_runner.statistics import student
from horovod_runner.statistics.interval import FEWEST_SAMPLES, LEVEL, Interval

ENOUGH_TO_CLIP = 24  # runs, in four rounds or more: with fewer, their own scatter is not known well enough
FARTHEST = 3.0  # standard deviations, by the median absolute deviation

LOOKS = (8, 16)
"""After so many fresh rounds the winner is judged; who looks twice allows each look half the probability."""

Arm = TypeVar("Arm", bound=Hashable)


class Drop(NamedTuple):
    """Why an arm is not measured any more: its ratio to the best one, below 1 with the upper bound `high`."""

    ratio: float
    high: float


def standing(rounds: Sequence[Mapping[Arm, float]], arms: Sequence[Arm]) -> list[Arm]:
    """Return the arms from the fastest to the slowest, by the mean logarithm of their rates; every round has them all.

    `rounds`: images per second by arm, one mapping a round.
    """
    means = _steadied(_logarithms(rounds, arms)).mean(axis=0)
    return [arms[place] for place in np.argsort(-means, kind="stable")]


def losers(rounds: Sequence[Mapping[Arm, float]], arms: Sequence[Arm], level: float = LEVEL) -> dict[Arm, Drop]:
    """Return the arms that are slower than the best one with confidence, all of them together wrong with `level`.

    Multiple comparisons with the best: Hsu, "Constrained simultaneous confidence intervals for multiple comparisons
    with the best", Annals of Statistics 12, 1984, with Bonferroni's quantile in place of Dunnett's, which is a little
    smaller. The scatter is that of all arms together, once the rounds' and the arms' own levels are taken out (two-way
    analysis of variance without interaction), so that three rounds of several arms say something. Where runs are
    many, those that something else has disturbed count less (see `_steadied`); the level then is approximate. Below
    three rounds, or two arms, nobody is dropped. Ties with the best stay.
    """
    if len(rounds) < FEWEST_SAMPLES or len(arms) < 2:
        return {}
    logarithms = _steadied(_logarithms(rounds, arms))
    means = logarithms.mean(axis=0)
    rest = logarithms - means - logarithms.mean(axis=1, keepdims=True) + logarithms.mean()
    freedom = (len(rounds) - 1) * (len(arms) - 1)
    error = math.sqrt(2 * float((rest**2).sum()) / freedom / len(rounds))
    reach = student.quantile(freedom, 2 * level / (len(arms) - 1)) * error
    behind = means - means.max()
    return {
        arm: Drop(math.exp(distance), math.exp(distance + reach))
        for arm, distance in zip(arms, behind.tolist(), strict=True)
        if distance + reach < 0
    }


def paired_ratio(
    rounds: Sequence[Mapping[Arm, float]], arm: Arm, baseline: Arm, level: float = LEVEL
) -> Interval | None:
    """Return an arm's rate over the baseline's, the geometric mean over rounds that have both; None if there is none.

    Its interval is Student's of the paired logarithms, of confidence 1 - level; below three rounds it has no bounds.
    """
    both = [row for row in rounds if arm in row and baseline in row]
    if not both:
        return None
    return student.geometric(np.subtract.reduce(_logarithms(both, [arm, baseline]), axis=1), level)


def verdict(rounds: Sequence[Mapping[Arm, float]], arm: Arm, baseline: Arm) -> Interval:
    """Return the ratio of one arm to the baseline over rounds that were not used to choose it.

    The Hodges-Lehmann estimate and Wilcoxon's signed-rank interval of the paired logarithms (Hollander, Wolfe and
    Chicken, "Nonparametric Statistical Methods", 3rd ed., 3.2-3.3): exact whatever the noise, as long as it is alike on
    both sides, and little moved by a run that something else disturbed. Its confidence is 95 % after correction for
    the number of looks that are taken at it (Bonferroni). It wholly above 1 is a win, and wrong about an arm that is no
    better with a probability of at most 0.025. Rounds that are too few for such a confidence give no bounds.
    """
    logarithms = _logarithms([row for row in rounds if arm in row and baseline in row], [arm, baseline])
    differences = logarithms[:, 0] - logarithms[:, 1]
    first, second = np.triu_indices(len(differences))
    averages = np.sort((differences[first] + differences[second]) / 2)
    tail = _signed_rank_tail(len(differences), LEVEL / len(LOOKS) / 2)
    mean = math.exp(float(np.median(averages)))
    if tail == 0:
        return Interval(mean, None, None)
    return Interval(mean, math.exp(averages[tail - 1]), math.exp(averages[-tail]))


def _logarithms(rounds: Sequence[Mapping[Arm, float]], arms: Sequence[Arm]) -> NDArray[np.float64]:
    """Return (rounds, arms): ValueError when a rate is not positive."""
    rates = np.array([[row[arm] for arm in arms] for row in rounds], dtype=np.float64)
    if not (np.isfinite(rates).all() and (rates > 0).all()):
        raise ValueError("images per second must be finite and positive")
    return np.log(rates)


def _steadied(logarithms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (rounds, arms) with what lies far outside the scatter moved to its edge: a disturbed run is no news.

    The levels of rounds and arms are medians; the rest has (rounds - 1)(arms - 1) degrees of freedom. Few runs are
    returned as they are.
    """
    rounds, arms = logarithms.shape
    if logarithms.size < ENOUGH_TO_CLIP or rounds <= FEWEST_SAMPLES:
        return logarithms
    of_arms = np.median(logarithms - np.median(logarithms, axis=1, keepdims=True), axis=0)
    of_rounds = np.median(logarithms - of_arms, axis=1, keepdims=True)
    rest = logarithms - of_arms - of_rounds
    freedom = (rounds - 1) * (arms - 1) / logarithms.size
    edge = FARTHEST * 1.4826 * float(np.median(np.abs(rest))) / math.sqrt(freedom)
    steadied: NDArray[np.float64] = of_arms + of_rounds + np.clip(rest, -edge, edge)
    return steadied


def _signed_rank_tail(count: int, level: float) -> int:
    """Return how many values of the signed-rank statistic, from 0 on, are together no more likely than `level`."""
    ways = np.zeros(count * (count + 1) // 2 + 1)
    ways[0] = 1
    for rank in range(1, count + 1):
        ways[rank:] += ways[:-rank].copy()
    return int(np.searchsorted(np.cumsum(ways) / 2**count, level, side="right"))
