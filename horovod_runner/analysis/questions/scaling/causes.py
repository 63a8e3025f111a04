"""What bounds a number of workers: computing, communication, input or a straggler, or that nobody can tell.

Waiting for data, imbalance and communication are lost as a whole; of computing, what exceeds the baseline's (for as
many images a worker) is lost. The cause is the largest loss, if it takes 5 % of a step or more; where no loss does, the
workers are bound by computing, as they should be. It is named where 95 % of the resamples name the same one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from horovod_runner.analysis.load.groups import Cell
from horovod_runner.analysis.questions.scaling.parts import NAMES, Split
from horovod_runner.statistics.bootstrap import percentiles, resampled
from horovod_runner.statistics.interval import FEWEST_SAMPLES, Interval
from horovod_runner.statistics.throughput import lateness

NEGLIGIBLE = 0.05
AGREEMENT = 0.95
SEED = 0
NOTHING, REST = "nothing", "rest"
"""In place of a part's name: that nothing is lost beside computing; and all but input, where nobody divided it."""
Array = NDArray[np.float64]


class Verdict(StrEnum):
    """Whether it can be told what bounds the workers."""

    BOUND = "bound"
    INDISTINGUISHABLE = "indistinguishable"
    UNDIVIDED = "not divided"  # no compute-only workers beside them
    TOO_FEW = "too few runs"


@dataclass(frozen=True)
class Bound:
    """What bounds a number of workers.

    `likely`: the fewest causes that together 95 % of the resamples name, the likeliest first: parts of a step, or
    `NOTHING`, or `REST`; empty below three runs. `shares`: what each part loses, as a share of a step.
    """

    workers: int
    likely: tuple[str, ...] = ()
    shares: Mapping[str, Interval] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """Whether there is one cause."""
        if not self.likely:
            return Verdict.TOO_FEW
        if REST in self.likely:
            return Verdict.UNDIVIDED
        return Verdict.BOUND if len(self.likely) == 1 else Verdict.INDISTINGUISHABLE


def bound(workers: int, own: Split, baseline: Split, images: float) -> Bound:
    """Return what bounds this number of workers.

    `own` and `baseline`: where their steps go; `images`: a worker's images in a step over those of the baseline's.
    """
    if own.drawn is None or baseline.drawn is None:
        return Bound(workers)
    complete = own.complete and baseline.complete
    names, losses = (NAMES, _losses) if complete else (("input", REST), _rough_losses)
    means, drawn = losses(own.mean, baseline.mean, images), losses(own.drawn, baseline.drawn, images)
    columns = zip(names, means[0], drawn.T, strict=True)
    return Bound(workers, _likely(drawn, names), {name: percentiles(mean, column) for name, mean, column in columns})


@dataclass(frozen=True)
class StragglerFound:
    """The worker that the others wait for, and by what fraction it is later than the median of the others."""

    framework: str
    workers: int
    rank: int
    later: Interval


def stragglers(cells: Iterable[Cell]) -> list[StragglerFound]:
    """Return the stragglers of these cells."""
    return [found for found in map(find_straggler, cells) if found]


def find_straggler(cell: Cell) -> StragglerFound | None:
    """Return the worker that the others wait for; None where there is none, or nobody can tell.

    Told from when workers reach their first reduction, since from there on they wait for each other, and their steps
    take equally long. It is named if it comes 5 % later than the median of the others, or more, in 95 % of resampled
    runs; of fewer than three runs, if it does so throughout each of them.
    """
    runs = [run.result for run in cell.completed if len(run.result.ready_seconds) > 1]
    if len(runs) < FEWEST_SAMPLES:
        named = [run.last_to_reduce for run in runs if run.last_to_reduce]
        certain = [worker for worker in named if (worker.later.ci95_low or 0) >= NEGLIGIBLE]
        if not certain or len(certain) < len(runs) or len({worker.rank for worker in certain}) > 1:
            return None
        return StragglerFound(cell.framework, cell.workers, certain[0].rank, certain[0].later)
    seconds = np.array([run.ready_seconds for run in runs])
    rank = int(seconds.mean(axis=0).argmax())
    drawn = resampled(seconds, np.random.default_rng(SEED))
    later = lateness(drawn, rank)
    if ((later >= NEGLIGIBLE) & (drawn.argmax(axis=1) == rank)).mean() < AGREEMENT:
        return None
    interval = percentiles(float(lateness(seconds.mean(axis=0), rank)), later)
    return StragglerFound(cell.framework, cell.workers, rank, interval)


def _losses(own: Array, baseline: Array, images: float) -> Array:
    """Return what each part loses, as shares of a step, shape (rows, 4); the columns are those of `Split`."""
    lost = own[:, 1:].copy()
    lost[:, NAMES.index("computing")] -= images * baseline[:, 1 + NAMES.index("computing")]
    return lost / own[:, :1]


def _rough_losses(own: Array, baseline: Array, images: float) -> Array:
    """Return what input loses and what all else together does, as shares of a step, shape (rows, 2)."""
    step, wait = own[:, 0], own[:, 1]
    rest = step - wait - images * (baseline[:, 0] - baseline[:, 1])
    return np.stack([wait, rest], axis=-1) / own[:, :1]


def _likely(drawn: Array, names: Sequence[str]) -> tuple[str, ...]:
    largest = np.where(drawn.max(axis=1) >= NEGLIGIBLE, drawn.argmax(axis=1), len(names))
    named, likely = 0, []
    for place, times in Counter(largest.tolist()).most_common():
        if named < AGREEMENT * len(drawn):
            likely.append([*names, NOTHING][place])
        named += times
    return tuple(likely)
