"""A job in numbers, for a machine that nobody here can measure: a YAML file, with ranges for what is not known.

`parameters`, `bytes_per_gradient` and `share_sent` (of the bytes) are what travels; `seconds_per_image` and
`start_seconds` make a worker's computing. Each of `global_batch` and of `strategies` is predicted by itself, the batch
shared by all workers. `published` is a speedup on so many, and `readings` are what its base may be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from horovod_runner.prediction.calibration import Calibrated, Setup
from horovod_runner.prediction.draws import DRAWS, priors
from horovod_runner.prediction.forecast import Forecast
from horovod_runner.prediction.job import PATTERNS, evenly
from horovod_runner.prediction.network import Described, Network, Positive, drawn, read_described
from horovod_runner.statistics.bootstrap import percentiles
from horovod_runner.statistics.interval import Interval

Array = NDArray[np.float64]
Whole = Annotated[int, Field(ge=1, le=10**12)]


class Published(Described):
    """What was published."""

    workers: Whole
    speedup: Annotated[float, Field(gt=0, lt=1e12)]


class Reading(Described):
    """One reading of the base of a speedup: what a speedup over one worker has to be multiplied by."""

    base: str
    times: Positive = (1, 1)


class Profile(Described):
    """A job in numbers."""

    name: str
    parameters: Whole
    bytes_per_gradient: Annotated[float, Field(gt=0, le=16)] = 4
    share_sent: Positive = (1, 1)
    global_batch: tuple[Whole, ...]
    seconds_per_image: Positive
    start_seconds: Positive
    strategies: tuple[str, ...] = ("fused",)
    published: Published | None = None
    readings: tuple[Reading, ...] = ()

    @field_validator("strategies")
    @classmethod
    def _known(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for name in given:
            if name not in PATTERNS:
                raise ValueError(f"{name} is none of {', '.join(PATTERNS)}; write one of them")
        return given


@dataclass(frozen=True)
class Placed:
    """A published speedup beside what a reading of its base predicts; `below`: the share of draws that lie below it."""

    strategy: str
    global_batch: int
    reading: Reading
    predicted: Interval
    published: float
    below: float


def read_profile(file: Path) -> Profile:
    """Return the profile in a file; UserError names file, key and remedy."""
    return read_described(file, Profile, "a profile")


def forecast_of(profile: Profile, network: Network, strategy: str, batch: int) -> Forecast:
    """Return the forecast of a profile on a network: nothing is fitted, all is drawn from ranges."""
    generator = np.random.default_rng(0)
    share = drawn(profile.share_sent, DRAWS, generator)
    draws = network.known(priors(generator, DRAWS), generator)
    draws = draws.with_(
        start=drawn(profile.start_seconds, DRAWS, generator),
        per_image=drawn(profile.seconds_per_image, DRAWS, generator),
        bandwidth_within=draws.bandwidth_within / share,
        bandwidth_between=draws.bandwidth_between / share,
    )
    setup = Setup(evenly(profile.parameters * profile.bytes_per_gradient), PATTERNS[strategy], network.ranks_per_host)
    return Forecast(Calibrated(setup, draws, 1), "strong", batch, strategy)


def placed(profile: Profile, forecasts: Sequence[Forecast]) -> Iterator[Placed]:
    """Yield where the published speedup lies in each prediction, under each reading of its base."""
    if profile.published is None:
        return
    generator, count = np.random.default_rng(1), profile.published.workers
    for forecast in forecasts:
        step = forecast.parts([1, count]).step
        uncertain = forecast.calibrated.uncertain(step[:, 1:], [count], generator)[:, 0]
        for reading in profile.readings:
            speedups = drawn(reading.times, len(step), generator) * step[:, 0] / uncertain
            below = float((speedups < profile.published.speedup).mean())
            interval = percentiles(float(np.median(speedups)), speedups)
            yield Placed(forecast.strategy, forecast.batch, reading, interval, profile.published.speedup, below)
