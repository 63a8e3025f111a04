"""Where the seconds of a step go: input, computing, the imbalance of workers, exposed communication.

Told from runs beside as many compute-only workers (no Horovod, no communication, the same cores), by means over runs;
what the parts of other runs might have been comes from resampling runs of both arms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from horovod_runner.analysis.load.groups import Cell
from horovod_runner.analysis.load.runs import Run
from horovod_runner.statistics.bootstrap import percentiles, resampled
from horovod_runner.statistics.interval import FEWEST_SAMPLES, Interval

NAMES = ("input", "computing", "imbalance", "communication")
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Parts:
    """The parts of a mean step in seconds; together they are the `step`.

    `input`: waiting for data (the compute-only workers' where there are any); `computing`: the mean compute-only
    worker's step less its wait; `imbalance`: the slowest compute-only worker's step less the mean one's;
    `communication`: the step less the slowest compute-only worker's, which is what of the communication is exposed;
    noise may make it negative. The last three are None where no compute-only workers were measured. A worker without
    others is its own compute-only worker. `intervals`: by the names of the parts that are known; empty below three runs
    of either arm.
    """

    step: float
    input: float
    computing: float | None
    imbalance: float | None
    communication: float | None
    intervals: Mapping[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True)
class Split:
    """Steps and their parts as columns for further arithmetic: step, then the four in the order of `NAMES`.

    `mean`: shape (1, 5); what is unknown is NaN. `drawn`: one row a resample; None below three runs of either arm.
    """

    mean: Array
    drawn: Array | None = None

    @property
    def complete(self) -> bool:
        """Whether more than the input is known."""
        return bool(np.isfinite(self.mean).all())

    def values(self) -> Parts:
        """Return the parts with their intervals."""
        step, *parts = (float(seconds) for seconds in self.mean[0])
        known = {name: part for name, part in zip(NAMES, parts, strict=True) if math.isfinite(part)}
        intervals = {}
        if self.drawn is not None:
            columns = dict(zip(NAMES, self.drawn[:, 1:].T, strict=True))
            intervals = {name: percentiles(part, columns[name]) for name, part in known.items()}
        computing, imbalance, communication = (known.get(name) for name in NAMES[1:])
        return Parts(step, known["input"], computing, imbalance, communication, intervals)


def split(cell: Cell, generator: np.random.Generator) -> Split:
    """Return where the step of a cell that has figures goes."""
    arms = _arms(cell)
    mean = _split(np.hstack([arm.mean(axis=0) for arm in arms])[None, :])
    if min(len(arm) for arm in arms) < FEWEST_SAMPLES:
        return Split(mean)
    return Split(mean, _split(np.hstack([resampled(arm, generator) for arm in arms])))


def _split(columns: Array) -> Array:
    """Return step and parts from the columns: step, slowest compute-only worker, mean compute-only worker, wait."""
    step, slowest, mean, wait = columns.T
    return np.stack([step, wait, mean - wait, slowest - mean, step - slowest], axis=-1)


def _arms(cell: Cell) -> list[Array]:
    """Return the runs of each arm, shape (runs, figures); side by side, the figures are the columns of `_split`."""
    own = np.array([[_step(run), _wait(run)] for run in _measured(cell)])
    compute_only = _measured(cell.ceiling) if cell.ceiling else []
    if compute_only and all(run.result.worker_seconds for run in compute_only):
        figures = [[max(seconds := run.result.worker_seconds), np.mean(seconds), _wait(run)] for run in compute_only]
        return [own[:, :1], np.array(figures)]
    others = own[:, :1] if cell.workers == 1 else np.full((len(own), 1), np.nan)
    return [np.hstack([own[:, :1], others, others, own[:, 1:]])]


def _measured(cell: Cell) -> list[Run]:
    return [run for run in cell.completed if run.result.images_per_second]


def _step(run: Run) -> float:
    """Return the mean seconds of a step by the slowest worker's clock."""
    rate = run.result.images_per_second
    return run.result.global_batch / rate.mean if rate else math.nan


def _wait(run: Run) -> float:
    return (run.result.data_wait_fraction or 0.0) * _step(run)
