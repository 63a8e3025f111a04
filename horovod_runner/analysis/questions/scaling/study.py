"""What a scaling study says: speedup against workers, fitted laws, the knee, where a step goes, and what bounds it.

One `Scaling` for each framework of a group. The unit of resampling is the run: intervals are over runs, and there are
none below three runs of each number of workers. The same runs give the same figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from horovod_runner.analysis.load.groups import Cell, Group
from horovod_runner.analysis.questions.scaling.causes import Bound, bound
from horovod_runner.analysis.questions.scaling.parts import Parts, split
from horovod_runner.statistics import laws
from horovod_runner.statistics.bootstrap import percentiles
from horovod_runner.statistics.interval import FEWEST_SAMPLES, Interval
from horovod_runner.statistics.repeats import repeats_for

THRESHOLD = 0.8
FURTHEST = 1_000_000  # workers up to which a prediction is one
ONE_SIDED = 0.05
Array = NDArray[np.float64]


@dataclass(frozen=True)
class ScalingPoint:
    """One number of workers: speedup and efficiency against the baseline, those of the baseline exact by definition.

    `ceiling` is the speedup of as many compute-only workers (no communication) against the same baseline, None where
    none were measured. Bounds are None below three runs of either.
    """

    workers: int
    speedup: Interval
    efficiency: Interval
    ceiling: Interval | None
    oversubscribed: bool


@dataclass(frozen=True)
class LawFit:
    """A law of speedup fitted to the points: `amdahl`, `gustafson` or `usl` (the Universal Scalability Law).

    Workers are counted in units of the baseline (`unit` workers), so that every law gives `unit` at the baseline.
    `parameters`: `serial` (Amdahl, Gustafson), or `contention` and `coherency` (USL), with 95 % intervals. `exact`: as
    many parameters as points beside the baseline, so that the law passes through all of them and nothing is tested.
    """

    law: str
    unit: int
    parameters: Mapping[str, Interval]
    exact: bool
    resampled: Array | None = field(default=None, repr=False, compare=False)  # parameters, shape (resamples, number)

    @property
    def values(self) -> list[float]:
        """The parameters without their intervals."""
        return [interval.mean for interval in self.parameters.values()]

    def curve(self, workers: ArrayLike) -> tuple[Array, Array | None, Array | None]:
        """Return fitted speedups at these numbers of workers, and their 95 % bounds, each of the shape of `workers`.

        The bounds are None where there are no intervals.
        """
        units = np.asarray(workers, dtype=float) / self.unit
        middle = self.unit * laws.speedup(self.law, self.values, units)
        if self.resampled is None:
            return middle, None, None
        low, high = np.quantile(self.unit * laws.speedup(self.law, self.resampled, units), (0.025, 0.975), axis=0)
        return middle, low, high


@dataclass(frozen=True)
class Knee:
    """The largest number of workers whose efficiency is above the threshold.

    `measured`: with 95 % confidence (one-sided), all smaller numbers included; the baseline's own where no larger one
    is; None below three runs. `predicted`: where the efficiency of `law` falls to the threshold (the USL, or with one
    number of workers beside the baseline Amdahl's law); its upper bound may be infinite; None where it does not fall
    below a million workers.
    """

    measured: int | None
    predicted: Interval | None
    law: str | None
    threshold: float = THRESHOLD


@dataclass(frozen=True)
class Scaling:
    """What the runs of one framework in a group say about scaling.

    `points` by workers, the baseline first. Points that are `oversubscribed` take no part in `fits`, `knee` and
    `bound`, unless there are no others (`sharing_cores`). `parts`: by workers.
    `repeats_needed`: runs of each number of workers until the 95 % interval of the mean is +-1 %; None below three.
    """

    framework: str
    scaling: str
    baseline_workers: int
    points: tuple[ScalingPoint, ...]
    fits: tuple[LawFit, ...]
    knee: Knee
    parts: Mapping[int, Parts]
    bound: Bound
    repeats_needed: int | None
    sharing_cores: bool = False

    @property
    def trusted(self) -> list[ScalingPoint]:
        """The points that take part."""
        return [point for point in self.points if self.sharing_cores or not point.oversubscribed]

    @property
    def fitted(self) -> LawFit:
        """The law that predicts the knee."""
        return next(fit for fit in self.fits if fit.law == self.knee.law)


def study(group: Group, framework: str) -> Scaling | None:
    """Return what the group's runs of this framework say; None where fewer than two numbers of workers have figures."""
    cells = [cell for cell in group.cells if cell.framework == framework and cell.images_per_second]
    if len(cells) < 2:
        return None
    own_cores = [cell for cell in cells[1:] if not cell.oversubscribed]
    sharing_cores = cells[0].oversubscribed or not own_cores
    trusted = cells if sharing_cores else [cells[0], *own_cores]
    drawn = _drawn(trusted)
    fits = tuple(_fits(trusted, drawn))
    splits = {cell.workers: split(cell, np.random.default_rng(cell.workers)) for cell in cells}
    last, images = trusted[-1].workers, trusted[-1].local_batch / trusted[0].local_batch
    return Scaling(
        framework=framework,
        scaling=group.scaling,
        baseline_workers=cells[0].workers,
        points=tuple(_point(cell, cells[0]) for cell in cells),
        fits=fits,
        knee=_knee(trusted, drawn, fits),
        parts={workers: made.values() for workers, made in splits.items()},
        bound=bound(last, splits[last], splits[trusted[0].workers], images),
        repeats_needed=_repeats(trusted),
        sharing_cores=sharing_cores,
    )


def studies(group: Group) -> list[Scaling]:
    """Return the studies of all frameworks of a group that have one."""
    names = dict.fromkeys(cell.framework for cell in group.cells)
    return [made for made in (study(group, name) for name in names) if made is not None]


def _rates(cell: Cell) -> list[float]:
    """Return images a second of each run."""
    rates = (run.result.images_per_second for run in cell.completed)
    return [rate.mean for rate in rates if rate]


def _several(*cells: Cell) -> bool:
    return min(len(_rates(cell)) for cell in cells) >= FEWEST_SAMPLES


def _point(cell: Cell, baseline: Cell) -> ScalingPoint:
    """Return a cell's point; what a single run says of its steps is no interval of a study."""
    ceiling = None
    if cell.ceiling and cell.ceiling.speedup:
        ceiling = _over_runs(cell.ceiling.speedup, _several(cell.ceiling, baseline))
    if cell.speedup is None or cell.efficiency is None:
        unit = float(baseline.workers)
        speedup, efficiency = Interval(unit, unit, unit), Interval(1.0, 1.0, 1.0)
    else:
        several = _several(cell, baseline)
        speedup, efficiency = _over_runs(cell.speedup, several), _over_runs(cell.efficiency, several)
    return ScalingPoint(cell.workers, speedup, efficiency, ceiling, cell.oversubscribed)


def _over_runs(interval: Interval, several: bool) -> Interval:
    return interval if several else interval.without_bounds()


def _drawn(cells: Sequence[Cell]) -> dict[int, Array]:
    """Return resampled speedups by workers; without those of fewer than three runs, and none where the baseline is."""
    rates = {cell.workers: _rates(cell) for cell in cells if _several(cell)}
    return laws.resampled_speedups(rates) if cells[0].workers in rates else {}


def _fits(cells: Sequence[Cell], drawn: Mapping[int, Array]) -> Iterator[LawFit]:
    """Yield every law that there are points enough for."""
    unit, beside = cells[0].workers, cells[1:]
    units = np.array([cell.workers / unit for cell in beside])
    speedups = np.array([cell.speedup.mean / unit if cell.speedup else np.nan for cell in beside])
    others = np.column_stack([drawn[cell.workers] for cell in beside]) / unit if len(drawn) == len(beside) else None
    for law, names in laws.PARAMETERS.items():
        if len(names) <= len(beside):
            values = laws.fit(law, units, speedups)
            resampled = None if others is None else laws.fit(law, units, others)
            columns = [None] * len(names) if resampled is None else list(resampled.T)
            parameters = {name: _interval(*pair) for name, *pair in zip(names, values, columns, strict=True)}
            yield LawFit(law, unit, parameters, len(names) == len(beside), resampled)


def _interval(value: float, drawn: Array | None) -> Interval:
    return Interval(float(value), None, None) if drawn is None else percentiles(value, drawn)


def _knee(cells: Sequence[Cell], drawn: Mapping[int, Array], fits: Sequence[LawFit]) -> Knee:
    measured = cells[0].workers if drawn else None
    for cell in cells[1:]:
        if cell.workers not in drawn or np.quantile(drawn[cell.workers] / cell.workers, ONE_SIDED) <= THRESHOLD:
            break
        measured = cell.workers
    law = {fit.law: fit for fit in fits}
    chosen = law.get("usl") or law["amdahl"]
    return Knee(measured, _predicted(chosen), chosen.law)


def _predicted(fit: LawFit) -> Interval | None:
    """Return the number of workers at which the fitted efficiency falls to the threshold; None if it is too far."""
    middle = fit.unit * float(laws.falls_to(fit.law, fit.values, THRESHOLD))
    if middle > FURTHEST:
        return None
    drawn = None if fit.resampled is None else fit.unit * laws.falls_to(fit.law, fit.resampled, THRESHOLD)
    return _interval(middle, drawn)


def _repeats(cells: Sequence[Cell]) -> int | None:
    """Return the runs that the cell with the widest scatter needs; None where a cell has too few to tell."""
    needed = [repeats_for([1 / rate for rate in _rates(cell)]) for cell in cells]
    known = [number for number in needed if number is not None]
    return max(known) if len(known) == len(needed) else None
