"""Laws of speedup: Amdahl's, Gustafson's and the Universal Scalability Law, fitted to measured speedups.

Pure: numbers in, numbers out, for one set of speedups or for a thousand at once. Workers n are counted in units of the
baseline, so S(1) = 1 by definition. (Each law keeps its form when the unit changes; its parameters then belong to that
unit.)

- `amdahl`: S(n) = 1 / (s + (1 - s) / n) (Amdahl, AFIPS 1967); `serial` s is the part of one unit's time that does not
  shrink.
- `gustafson`: S(n) = n - s (n - 1) (Gustafson, "Reevaluating Amdahl's law", CACM 31, 1988); `serial` s is the part of
  the time on n units that does not grow with the work.
- `usl`: S(n) = n / (1 + a (n - 1) + b n (n - 1)) (Gunther, "Guerrilla Capacity Planning", 2007, equation 4.31);
  `contention` a is waiting for what is shared, `coherency` b is exchange between all pairs. With b = 0 it is Amdahl's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from horovod_runner.statistics.bootstrap import RESAMPLES, resampled

Array = NDArray[np.float64]
PARAMETERS = {"amdahl": ("serial",), "gustafson": ("serial",), "usl": ("contention", "coherency")}


def speedup(law: str, parameters: ArrayLike, units: ArrayLike) -> Array:
    """Return S(n): parameters of shape (..., number of parameters) and units of shape (n,) give shape (..., n)."""
    return _SPEEDUPS[law](np.asarray(parameters, dtype=float)[..., None], np.asarray(units, dtype=float))


def fit(law: str, units: ArrayLike, speedups: ArrayLike) -> Array:
    """Return the parameters with the least squares of relative errors, within their bounds.

    `units`: shape (n,); `speedups`: shape (..., n); returns shape (..., number of parameters). Every law is a straight
    line in its parameters (Amdahl and the USL in n / S), so the least squares are exact and need no starting point; the
    error of S is relative to the fitted S for these two, and to the measured S for Gustafson. Bounds: `serial` between
    0 and 1, `contention` and `coherency` not negative; speedups above n are therefore fitted by n. A point at n = 1
    says nothing, since every law passes through it. ValueError when fewer other points than parameters are given.
    """
    counts, measured = np.asarray(units, dtype=float), np.asarray(speedups, dtype=float)
    if len({*counts} - {1.0}) < len(PARAMETERS[law]):
        raise ValueError(f"{law} needs at least {len(PARAMETERS[law])} numbers of workers beside the baseline")
    return _FITS[law](counts, measured)


def falls_to(law: str, parameters: ArrayLike, efficiency: float) -> Array:
    """Return the n at which S(n) / n falls to an efficiency below 1; infinite where it never does.

    `parameters`: shape (..., number of parameters); returns shape (...). For the USL the positive root of
    b n^2 + (a - b) n - (a + 1 / efficiency - 1) = 0, in the form that holds for b = 0 as well.
    """
    given = np.asarray(parameters, dtype=float)
    with np.errstate(divide="ignore", over="ignore"):
        if law == "gustafson":
            serial = given[..., 0]
            return np.asarray(np.where(serial > 1 - efficiency, serial / (serial + efficiency - 1), math.inf))
        contention = given[..., 0]
        coherency = given[..., 1] if law == "usl" else np.zeros_like(contention)
        lost = contention + 1 / efficiency - 1
        slope = contention - coherency
        return np.asarray(2 * lost / (slope + np.hypot(slope, 2 * np.sqrt(coherency) * np.sqrt(lost))))


def resampled_speedups(
    images_per_second: Mapping[int, Sequence[float]], seed: int = 0, count: int = RESAMPLES
) -> dict[int, Array]:
    """Return, for every number of workers but the smallest, speedups as other runs might have given them: (count,).

    `images_per_second`: of each run on so many workers, at least three runs each. The smallest number of workers is the
    baseline, whose speedup is its number; its runs are resampled with the others, once for all of them, so that an
    error of the baseline moves the whole curve as it does in truth. Seconds are resampled on the logarithmic scale,
    where no time can become negative. The same seed gives the same numbers.
    """
    generator = np.random.default_rng(seed)
    ordered = sorted(images_per_second)
    seconds = {workers: _resampled_seconds(images_per_second[workers], generator, count) for workers in ordered}
    return {workers: ordered[0] * seconds[ordered[0]] / seconds[workers] for workers in ordered[1:]}


def _resampled_seconds(images_per_second: Sequence[float], generator: np.random.Generator, count: int) -> Array:
    """Return mean seconds an image, as other runs might have given them, shape (count,)."""
    seconds = 1 / np.asarray(images_per_second, dtype=float)
    drawn = resampled(np.log(seconds)[:, None], generator, count)[:, 0]
    return np.asarray(seconds.mean() * np.exp(drawn - np.log(seconds).mean()))


def _amdahl(parameters: Array, units: Array) -> Array:
    return units / (1 + parameters[..., 0, :] * (units - 1))


def _gustafson(parameters: Array, units: Array) -> Array:
    return units - parameters[..., 0, :] * (units - 1)


def _usl(parameters: Array, units: Array) -> Array:
    return units / (1 + parameters[..., 0, :] * (units - 1) + parameters[..., 1, :] * units * (units - 1))


def _fit_amdahl(units: Array, speedups: Array) -> Array:
    """Fit n / S - 1 = s (n - 1); times S / n, an error of n / S is one of S, relative to the fitted S."""
    weight = speedups / units
    return _line((units - 1) * weight, 1 - weight).clip(0, 1)


def _fit_gustafson(units: Array, speedups: Array) -> Array:
    """Fit n - S = s (n - 1), relative to S."""
    return _line((units - 1) / speedups, (units - speedups) / speedups).clip(0, 1)


def _fit_usl(units: Array, speedups: Array) -> Array:
    """Fit n / S - 1 = a (n - 1) + b n (n - 1), weighted as Amdahl's: non-negative least squares in two unknowns.

    Where the free solution has a negative part, the best one lies on an edge, a = 0 or b = 0: the problem is convex.
    """
    weight = speedups / units
    first, second, target = (units - 1) * weight, units * (units - 1) * weight, 1 - weight
    edges = [_line(first, target).clip(0), _line(second, target).clip(0)]
    zero = np.zeros_like(edges[0])
    candidates = [np.concatenate(pair, axis=-1) for pair in ((edges[0], zero), (zero, edges[1]))]
    errors = [np.square(target - c[..., :1] * first - c[..., 1:] * second).sum(axis=-1) for c in candidates]
    edge = np.where((errors[0] <= errors[1])[..., None], *candidates)
    free = _plane(first, second, target)
    return np.asarray(np.where((free >= 0).all(axis=-1, keepdims=True), free, edge))


def _line(x: Array, y: Array) -> Array:
    """Return the slope of the least-squares line through the origin, shape (..., 1)."""
    return np.asarray((x * y).sum(axis=-1) / (x * x).sum(axis=-1))[..., None]


def _plane(x: Array, z: Array, y: Array) -> Array:
    """Return the least-squares solution of y = a x + b z, shape (..., 2)."""
    xx, xz, zz = ((p * q).sum(axis=-1) for p, q in ((x, x), (x, z), (z, z)))
    xy, zy = (x * y).sum(axis=-1), (z * y).sum(axis=-1)
    determinant = xx * zz - xz * xz
    return np.stack([(zz * xy - xz * zy) / determinant, (xx * zy - xz * xy) / determinant], axis=-1)


_SPEEDUPS: dict[str, Callable[[Array, Array], Array]] = {"amdahl": _amdahl, "gustafson": _gustafson, "usl": _usl}
_FITS = {"amdahl": _fit_amdahl, "gustafson": _fit_gustafson, "usl": _fit_usl}
