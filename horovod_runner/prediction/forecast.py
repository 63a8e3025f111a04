"""What calibrated draws say of more workers: speed, speedup, efficiency, the knee, what bounds, and what would help."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from horovod_runner.prediction.calibration import Calibrated, Setup
from horovod_runner.prediction.draws import Draws
from horovod_runner.prediction.job import FORWARD, PATTERNS
from horovod_runner.prediction.step import Parts
from horovod_runner.statistics.bootstrap import percentiles
from horovod_runner.statistics.interval import Interval

Array = NDArray[np.float64]

SEED = 0
THRESHOLDS = (0.8, 0.5)
NEGLIGIBLE = 0.05
"""A share of the step below which a loss bounds nothing, as in analysis/questions/scaling/causes.py."""
HIDDEN = 0.05
"""Reducing counts as hidden while it adds less than this to computing."""
BOUNDS = ("computing", "stragglers", "coordination", "communication")
LARGEST_BATCH = 1 << 20


@dataclass(frozen=True)
class Predicted:
    """One number of workers. `shares`: medians over draws of each part's share of the step, by `BOUNDS`."""

    workers: int
    local_batch: float
    step_seconds: Interval
    images_per_second: Interval
    speedup: Interval
    efficiency: Interval
    shares: Mapping[str, float]
    measured: bool

    @property
    def bound_by(self) -> str:
        """The part that loses most, if that is worth a twentieth of the step; else computing."""
        losses = {name: self.shares[name] for name in BOUNDS[1:]}
        worst = max(losses, key=losses.__getitem__)
        return worst if losses[worst] >= NEGLIGIBLE else "computing"


@dataclass(frozen=True)
class Rule:
    """The rule of thumb at a number of workers.

    `batch`: images a worker from which reducing hides behind the backward pass (adds less than a twentieth), infinite
    where no batch hides it; `by_formula`: the same from parameters, bandwidth and seconds an image alone. `halving`: by
    what factor an image costs more, at half of that batch.
    """

    workers: int
    batch: Interval
    by_formula: float
    halving: Interval
    bytes: float
    bandwidth: float
    start: float
    seconds_per_image: float
    overlap: float


@dataclass(frozen=True)
class Forecast:
    """A job on a machine, from what was calibrated: `scaling` weak keeps `batch` a worker, strong keeps it in all."""

    calibrated: Calibrated
    scaling: str
    batch: int
    strategy: str

    def batches(self, workers: ArrayLike) -> Array:
        """Return images a worker."""
        counts = np.asarray(workers, float)
        return np.full(counts.shape, float(self.batch)) if self.scaling == "weak" else self.batch / counts

    @property
    def setup(self) -> Setup:
        """The job and its strategy."""
        return self.calibrated.setup

    @property
    def draws(self) -> Draws:
        """The calibrated draws."""
        return self.calibrated.draws

    def parts(self, workers: Sequence[int]) -> Parts:
        """Return the parts of a step."""
        return self.setup.parts(self.draws, workers, self.batches(workers))

    def table(self, workers: Sequence[int], measured: Sequence[int] = ()) -> list[Predicted]:
        """Return a prediction for each number of workers; speedup is over one worker on all that it would compute."""
        generator = np.random.default_rng(SEED)
        parts = self.parts(workers)
        base = self.parts([1]).step
        middle = np.median(parts.step, axis=0)
        seconds = self.calibrated.uncertain(parts.step, workers, generator)
        images = np.asarray(workers) * self.batches(workers)
        scale = np.asarray(workers) if self.scaling == "weak" else np.ones(len(workers))
        made = []
        for place, count in enumerate(workers):
            drawn = scale[place] * base[:, 0] / seconds[:, place]
            speedup = percentiles(float(np.median(scale[place] * base[:, 0] / parts.step[:, place])), drawn)
            rate = percentiles(images[place] / middle[place], images[place] / seconds[:, place])
            shares = {name: float(np.median(getattr(parts, name)[:, place] / parts.step[:, place])) for name in BOUNDS}
            made.append(
                Predicted(
                    count,
                    float(self.batches(count)),
                    percentiles(float(middle[place]), seconds[:, place]),
                    rate,
                    speedup,
                    _over(speedup, count),
                    shares,
                    count in measured,
                )
            )
        return made

    def knee(self, threshold: float, workers: Sequence[int]) -> Interval:
        """Return the number of workers at which efficiency falls below a threshold, between those given by logarithms.

        Infinite where it does not.
        """
        generator = np.random.default_rng(SEED)
        counts = sorted({1, *workers})
        step = self.parts(counts).step
        drawn = self.calibrated.uncertain(step, counts, generator)
        scale = np.ones(len(counts)) if self.scaling == "weak" else 1 / np.asarray(counts)
        middle = np.median(step[:, :1] * scale / step, axis=0)[None, :]
        return percentiles(
            float(_crossings(middle, counts, threshold)[0]), _crossings(drawn[:, :1] * scale / drawn, counts, threshold)
        )

    def helps(self, workers: int, strategies: Mapping[str, Setup] | None = None) -> list[tuple[str, Interval]]:
        """Return by what factor images a second would grow, the best first: one change at a time, at this many workers.

        `strategies`: further ones, by their names, as they would be set up here.
        """
        draws, setup, batch = self.draws, self.setup, self.batches([workers])
        faster = {name: 2 * getattr(draws, name) for name in ("bandwidth_within", "bandwidth_between")}
        halved = replace(setup, pattern=replace(setup.pattern, bytes_factor=setup.pattern.bytes_factor / 2))
        now = setup.step(draws, [workers], batch)[:, 0]
        changed = {
            "twice the bandwidth": setup.step(draws.with_(**faster), [workers], batch)[:, 0],
            "half the bytes": halved.step(draws, [workers], batch)[:, 0],
            "twice the local batch": setup.step(draws, [workers], 2 * batch)[:, 0] / 2,
        }
        for name, other in (strategies or {}).items():
            changed[f"strategy {name}"] = other.step(draws, [workers], batch)[:, 0]
        gains = [(name, percentiles(float(np.median(now / then)), now / then)) for name, then in changed.items()]
        return sorted(gains, key=lambda gain: -gain[1].mean)

    @cached_property
    def others(self) -> dict[str, Setup]:
        """The strategies that this job was not measured with, but for those that reduce nothing."""
        usual = self.setup.pattern
        return {
            name: replace(
                self.setup,
                pattern=replace(
                    pattern, bytes_factor=usual.bytes_factor if pattern.coordinated and not pattern.gathers else 1.0
                ),
            )
            for name, pattern in PATTERNS.items()
            if name not in ("none", self.strategy)
        }

    def rule(self, workers: int) -> Rule:
        """Return the rule of thumb at this many workers."""
        sizes = np.asarray(2.0 ** np.arange(0, 21), float)
        parts = self.setup.parts(self.draws, np.full(len(sizes), workers), sizes)
        extra = (parts.communication + parts.coordination) / (parts.computing + parts.stragglers)
        found = _first_below(extra, sizes, HIDDEN)
        middle = float(_first_below(np.median(extra, axis=0)[None, :], sizes, HIDDEN)[0])
        at = np.clip(middle, 2, LARGEST_BATCH)
        pair = self.setup.step(self.draws, [workers, workers], [at, at / 2])
        costs = pair[:, 1] / (at / 2) / (pair[:, 0] / at)
        one = self._of_bytes(workers)
        return Rule(
            workers,
            percentiles(middle, found),
            float(np.median(self._batch_by_formula(one))),
            percentiles(float(np.median(costs)), costs),
            self.setup.gradients.total * self.setup.pattern.bytes_factor,
            float(np.median(self.setup.gradients.total * self.setup.pattern.bytes_factor / one)),
            float(np.median(self.draws.start)),
            float(np.median(self.draws.per_image)),
            float(np.median(self.draws.overlap)),
        )

    def _batch_by_formula(self, of_bytes: Array) -> Array:
        """Return the batch at which what the backward pass does not hide of these seconds is a twentieth of computing.

        of_bytes - overlap x 2/3 c(b) = 0.05 c(b), with c(b) = start + per_image x b.
        """
        computing = of_bytes / (HIDDEN + (1 - FORWARD) * self.draws.overlap)
        return np.asarray(((computing - self.draws.start) / self.draws.per_image.clip(1e-12)).clip(0))

    def _of_bytes(self, workers: int) -> Array:
        """Return the seconds that all bytes take at full speed, without latency, of each draw."""
        per_host = self.setup.per_host
        within, hosts = min(workers, per_host), math.ceil(workers / per_host)
        seconds = 2 * (1 - 1 / within) / self.draws.bandwidth_within
        congested = max(hosts / 2, 1) ** self.draws.congestion
        seconds = seconds + 2 * (1 - 1 / hosts) * congested / self.draws.bandwidth_between
        return np.asarray(seconds * self.setup.gradients.total * self.setup.pattern.bytes_factor)


def _over(interval: Interval, count: int) -> Interval:
    assert interval.ci95_low is not None and interval.ci95_high is not None
    return Interval(interval.mean / count, interval.ci95_low / count, interval.ci95_high / count)


def _crossings(efficiency: Array, counts: Sequence[int], threshold: float) -> Array:
    """Return where each row's efficiency first falls below a threshold, interpolated in log N; infinite where never."""
    logs = np.log2(counts)
    below = efficiency < threshold
    place = np.where(below.any(axis=1), below.argmax(axis=1), 0)
    rows = np.arange(len(efficiency))
    before = np.maximum(place - 1, 0)
    high, low = efficiency[rows, before], efficiency[rows, place]
    share = np.where(high > low, (high - threshold) / np.where(high > low, high - low, 1), 0.0)
    at = 2 ** (logs[before] + share * (logs[place] - logs[before]))
    return np.where(below.any(axis=1), at, np.inf)


def _first_below(extra: Array, sizes: Array, threshold: float) -> Array:
    """Return the smallest size from which on each row stays at or below a threshold; infinite where none does."""
    above = extra > threshold
    last = np.where(above.any(axis=1), extra.shape[1] - 1 - above[:, ::-1].argmax(axis=1), -1)
    nearest = np.append(sizes, np.inf)
    rows = np.arange(len(extra))
    inner = (last >= 0) & (last < extra.shape[1] - 1)
    before, after = np.clip(last, 0, None), np.clip(last + 1, 0, extra.shape[1] - 1)
    high, low = extra[rows, before], extra[rows, after]
    share = np.where(inner & (high > low), (high - threshold) / np.where(high > low, high - low, 1), 1.0)
    between = sizes[before] * 2 ** share.clip(0, 1)
    return np.where(inner, between, nearest[last + 1])


def powers_of_two(first: int, last: int) -> list[int]:
    """Return the ends and every power of two between them."""
    inside = [2**power for power in range(first.bit_length() - 1, last.bit_length() + 1) if first < 2**power < last]
    return sorted({first, *inside, last})
