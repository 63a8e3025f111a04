"""Which of several arms is no longer worth measuring, and whether the best one beats the default: pure statistics.

All arms are measured once a round, in random order, and compared within rounds only, on the logarithmic scale: what
slows the whole machine for a while slows them alike and cancels. Nothing of ours but `stats` is imported, and SciPy
only when a quantile is needed.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from horovod_runner.analysis.stats import FEWEST_SAMPLES, Interval

LEVEL = 0.05
"""The probability of being wrong: about any arm that a round drops, and about a winner."""
LOOKS = (6, 12)
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
    means = _logarithms(rounds, arms).mean(axis=0)
    return [arms[place] for place in np.argsort(-means, kind="stable")]


def losers(rounds: Sequence[Mapping[Arm, float]], arms: Sequence[Arm], level: float = LEVEL) -> dict[Arm, Drop]:
    """Return the arms that are slower than the best one with confidence, all of them together wrong with `level`.

    Multiple comparisons with the best: Hsu, "Constrained simultaneous confidence intervals for multiple comparisons
    with the best", Annals of Statistics 12, 1984, with Bonferroni's quantile in place of Dunnett's, which is a little
    smaller. The scatter is that of all arms together, once the rounds' and the arms' own levels are taken out (two-way
    analysis of variance without interaction), so that three rounds of several arms say something. Below three rounds,
    or two arms, nobody is dropped. Ties with the best stay.
    """
    if len(rounds) < FEWEST_SAMPLES or len(arms) < 2:
        return {}
    from scipy.special import stdtrit

    logarithms = _logarithms(rounds, arms)
    means = logarithms.mean(axis=0)
    rest = logarithms - means - logarithms.mean(axis=1, keepdims=True) + logarithms.mean()
    freedom = (len(rounds) - 1) * (len(arms) - 1)
    error = math.sqrt(2 * float((rest**2).sum()) / freedom / len(rounds))
    reach = float(stdtrit(freedom, 1 - level / (len(arms) - 1))) * error
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
    differences = np.subtract.reduce(_logarithms(both, [arm, baseline]), axis=1)
    mean = float(differences.mean())
    if len(both) < FEWEST_SAMPLES:
        return Interval(math.exp(mean), None, None)
    from scipy.special import stdtrit

    error = float(np.std(differences, ddof=1)) / math.sqrt(len(both))
    half = float(stdtrit(len(both) - 1, 1 - level / 2)) * error
    return Interval(math.exp(mean), math.exp(mean - half), math.exp(mean + half))


def verdict(rounds: Sequence[Mapping[Arm, float]], arm: Arm, baseline: Arm) -> Interval:
    """Return the ratio of one arm to the baseline over rounds that were not used to choose it.

    The interval is of 95 % confidence after correction for the number of looks that are taken at it (Bonferroni). It
    wholly above 1 is a win, and wrong about an arm that is no better with a probability of at most 0.025.
    """
    found = paired_ratio(rounds, arm, baseline, LEVEL / len(LOOKS))
    if found is None:
        raise ValueError("a verdict needs rounds in which both were measured")
    return found


def is_win(ratio: Interval) -> bool:
    """Say whether an interval lies wholly above 1."""
    return ratio.ci95_low is not None and ratio.ci95_low > 1


def _logarithms(rounds: Sequence[Mapping[Arm, float]], arms: Sequence[Arm]) -> NDArray[np.float64]:
    """Return (rounds, arms): ValueError when a rate is not positive."""
    rates = np.array([[row[arm] for arm in arms] for row in rounds], dtype=np.float64)
    if not (np.isfinite(rates).all() and (rates > 0).all()):
        raise ValueError("images per second must be finite and positive")
    return np.log(rates)
