"""What a scaling study says: speedup against workers, fitted laws, the knee, where a step goes, and what bounds it.

One `Scaling` for each framework of a group. The unit of resampling is the run: intervals are over runs, and there are
none below three runs of each number of workers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from numpy.typing import ArrayLike, NDArray

from horovod_runner.analysis.stats import Interval
from horovod_runner.analysis.summary import Group

THRESHOLD = 0.8


@dataclass(frozen=True)
class Point:
    """One number of workers: speedup and efficiency against the baseline, those of the baseline exact by definition.

    `ceiling` is the speedup of as many silent workers (no communication) against the same baseline, None where none
    were measured. Bounds are None below three runs.
    """

    workers: int
    speedup: Interval
    efficiency: Interval
    ceiling: Interval | None
    oversubscribed: bool


@dataclass(frozen=True)
class Fit:
    """A law of speedup fitted to the points: `amdahl`, `gustafson` or `usl` (the Universal Scalability Law).

    Workers are counted in units of the baseline (`unit` workers), so that every law gives `unit` at the baseline.
    `parameters`: `serial` (Amdahl, Gustafson), or `contention` and `coherency` (USL), with 95 % intervals. `exact`: as
    many parameters as points beside the baseline, so that the law passes through all of them and nothing is tested.
    """

    law: str
    unit: int
    parameters: Mapping[str, Interval]
    exact: bool
    resampled: NDArray | None = field(default=None, repr=False, compare=False)  # parameters, shape (resamples, number)

    def curve(self, workers: ArrayLike) -> tuple[NDArray, NDArray | None, NDArray | None]:
        """Return fitted speedups at these numbers of workers, and their 95 % bounds, each of the shape of `workers`.

        The bounds are None where there are no intervals.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Knee:
    """The largest number of workers whose efficiency is above the threshold.

    `measured`: with 95 % confidence (one-sided), all smaller numbers included; the baseline's own where no larger one
    is; None below three runs. `predicted`: where the efficiency of `law` falls to the threshold; its upper bound may be
    infinite; None where it does not fall below a million workers.
    """

    measured: int | None
    predicted: Interval | None
    law: str | None
    threshold: float = THRESHOLD


@dataclass(frozen=True)
class Parts:
    """Where the mean seconds of a step go; together they make `step`. None where no silent workers were measured.

    `input`: waiting for data; `computing`: the mean silent worker's step less its wait; `imbalance`: the slowest silent
    worker's step less the mean one's; `communication`: the step less the slowest silent worker's (what of the
    communication is exposed; noise may make it negative). `intervals`: by the names of the parts; empty below three
    runs.
    """

    step: float
    input: float
    computing: float | None
    imbalance: float | None
    communication: float | None
    intervals: Mapping[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True)
class Scaling:
    """What the runs of one framework in a group say about scaling.

    `points` by workers, the baseline first. Points that are `oversubscribed` take no part in `fits`, `knee` and
    `verdict`, unless there are no others (`sharing_cores`). `parts`: by workers. `verdict`: one or two sentences.
    `repeats_needed`: runs of each number of workers until the 95 % interval of the mean is +-1 %; None below three.
    """

    framework: str
    scaling: str
    baseline_workers: int
    points: tuple[Point, ...]
    fits: tuple[Fit, ...]
    knee: Knee
    parts: Mapping[int, Parts]
    verdict: str
    repeats_needed: int | None
    sharing_cores: bool = False


def study(group: Group, framework: str) -> Scaling | None:
    """Return what the group's runs of this framework say; None where fewer than two numbers of workers have figures."""
    raise NotImplementedError
