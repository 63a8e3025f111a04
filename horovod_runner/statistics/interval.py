"""What every estimate of this suite is: a mean with its 95 % confidence interval, and what may be claimed of one.

Pure: numbers in, numbers out, and no library. The record of a run holds this same type.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LEVEL = 0.05
"""The probability of being wrong that an interval or a test of this suite allows itself."""
FEWEST_SAMPLES = 3
"""So many independent samples make an interval; of fewer the scatter is not known."""


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % confidence interval; the bounds are None where too few samples support one."""

    mean: float
    ci95_low: float | None
    ci95_high: float | None

    def leaves_out(self, value: float) -> bool:
        """Say whether there are bounds, and the value is not between them."""
        return self.ci95_low is not None and self.ci95_high is not None and not self.ci95_low <= value <= self.ci95_high

    def lies_above(self, value: float) -> bool:
        """Say whether there are bounds, and both are larger than the value."""
        return self.ci95_low is not None and self.ci95_low > value

    def without_bounds(self) -> Interval:
        """Return the mean alone."""
        return Interval(self.mean, None, None)


def ratio(numerator: Interval, denominator: Interval) -> Interval:
    """Return numerator / denominator of two independent estimates, with a 95 % confidence interval.

    The distances of the bounds are combined in quadrature on the logarithmic scale (MOVER: Zou & Donner, "Construction
    of confidence limits about effect measures: a general approach", Statistics in Medicine 27, 2008). The bounds are
    None where a part has none.
    """
    value = numerator.mean / denominator.mean
    bounds = (numerator.ci95_low, numerator.ci95_high, denominator.ci95_low, denominator.ci95_high)
    if any(bound is None or not 0 < bound < math.inf for bound in bounds):
        return Interval(value, None, None)
    low, high, below, above = (math.log(bound) for bound in bounds if bound is not None)
    top, bottom = math.log(numerator.mean), math.log(denominator.mean)
    down, up = math.hypot(top - low, above - bottom), math.hypot(high - top, bottom - below)
    return Interval(value, value * math.exp(-down), value * math.exp(up))


def times(interval: Interval, factor: float) -> Interval:
    """Return the interval with everything multiplied by a positive constant."""
    low, high = interval.ci95_low, interval.ci95_high
    return Interval(
        interval.mean * factor, None if low is None else low * factor, None if high is None else high * factor
    )


def logarithm(interval: Interval) -> Interval:
    """Return the interval of the natural logarithm, that of 0 being -infinity."""
    of = [None if value is None else math.log(value) if value > 0 else -math.inf for value in _parts(interval)]
    return Interval(of[0] or 0.0, of[1], of[2])


def exponential(interval: Interval) -> Interval:
    """Return the interval of e to the power of it."""
    of = [None if value is None else math.exp(value) for value in _parts(interval)]
    return Interval(of[0] or 0.0, of[1], of[2])


def _parts(interval: Interval) -> tuple[float, float | None, float | None]:
    return interval.mean, interval.ci95_low, interval.ci95_high
