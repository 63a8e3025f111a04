"""Two frameworks on equal numbers of workers of one group: their speed, and how far their last losses lie apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from horovod_runner.analysis.load.groups import Cell, Group
from horovod_runner.statistics.interval import Interval, ratio


@dataclass(frozen=True)
class Pair:
    """The cells of two frameworks on a number of workers, both with completed runs."""

    first: Cell
    second: Cell

    @property
    def speed(self) -> Interval | None:
        """The first's images a second over the second's; None where one of them has none."""
        one, other = self.first.images_per_second, self.second.images_per_second
        return None if one is None or other is None else ratio(one, other)

    @property
    def gap(self) -> float | None:
        """The first's last validation loss less the second's; None where one of them has none."""
        one, other = self.first.mean("final_val_loss"), self.second.mean("final_val_loss")
        return None if one is None or other is None else one - other

    @property
    def seeds(self) -> int:
        """How many seeds the one with fewer has."""
        return min(len({run.result.seed for run in cell.completed}) for cell in (self.first, self.second))


def pairs(group: Group) -> Iterator[Pair]:
    """Yield the cells of the first two frameworks on equal numbers of workers."""
    names = sorted({cell.framework for cell in group.cells if cell.completed})[:2]
    for cell in group.cells if len(names) == 2 else ():
        other = group.cell(names[1], cell.workers)
        if cell.framework == names[0] and cell.completed and other and other.completed:
            yield Pair(cell, other)
