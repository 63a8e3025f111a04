"""Does the framework matter? Differences between two frameworks, paired by seed, and whether they are within a margin.

Asked of runs of two frameworks with three seeds or more in common. The margin is what the experiment file says under
`margins`, which `run` writes down before the first run begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from horovod_runner.analysis.load.arms import arm
from horovod_runner.analysis.load.groups import bounds
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions import Finding, by_job, short_settings
from horovod_runner.analysis.questions import cells as of
from horovod_runner.results.store import read_manifest
from horovod_runner.statistics import seeds
from horovod_runner.statistics.equivalence import Equivalence, equivalence
from horovod_runner.statistics.interval import FEWEST_SAMPLES, Interval

FIGURES = ("val_metric", "val_loss", "steps_to_target")
Figures = dict[str, Callable[[Run], float | None]]


@dataclass(frozen=True)
class Cell:
    """Equal settings: the differences by figure and seed, first framework less second, and how many runs diverged."""

    settings: Mapping[str, Any]
    differences: Mapping[str, Mapping[int, float]]
    diverged: tuple[int, int]


@dataclass(frozen=True)
class Pooled:
    """The mean over cells of a figure's differences, a seed being one sample, and how these cells stand alone.

    Cells in which a seed lacks the figure, as a run that missed its target, are left out and counted: a mean over
    other cells for each seed would compare settings, and one such cell would cost all others a seed.
    """

    figure: str
    mean: Interval
    seeds: int
    cells: tuple[float, ...]  # the mean difference of each
    left_out: int
    apart: int  # cells whose own interval leaves 0 out
    within: Equivalence | None  # the test at the margin that was stated
    cells_within: int


@dataclass(frozen=True)
class FrameworkComparison(Finding):
    """A job's runs in two frameworks: its cells, how its final metric is taken, and what was stated beforehand."""

    question: ClassVar[str] = "frameworks"

    runs: Sequence[Run]
    frameworks: tuple[str, str]
    cells: Sequence[Cell]
    final: of.Final
    manifest: Mapping[str, Any]

    @property
    def margins(self) -> Mapping[str, float]:
        """The margins that the experiment file states, by figure."""
        return self.manifest.get("margins") or {}

    @property
    def foretold(self) -> bool:
        """Whether it is on record that the margins were written down before the first of these runs began."""
        started = min(
            (str(run.provenance["started"]) for run in self.runs if run.provenance.get("started")), default=""
        )
        stated = str(self.manifest.get("stated", ""))
        return bool(self.margins and started and stated) and stated[:19] <= started[:19]

    @cached_property
    def pooled(self) -> list[Pooled]:
        """What the cells say together, of each figure that they have."""
        every = (pool(self.cells, figure, self.margins.get(figure)) for figure in FIGURES)
        return [one for one in every if one is not None]

    @property
    def untested(self) -> list[str]:
        """The figures with a margin that these cells cannot be held to."""
        return sorted(self.margins.keys() - {one.figure for one in self.pooled})

    @property
    def diverged(self) -> list[int]:
        """How many runs of each framework diverged."""
        return [sum(cell.diverged[side] for cell in self.cells) for side in (0, 1)]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [self._row(cell) for cell in self.cells]

    def _row(self, cell: Cell) -> dict[str, Any]:
        row: dict[str, Any] = {"settings": short_settings(cell.settings)}
        row |= {"seeds": len(cell.differences["val_metric"]), "diverged": "/".join(map(str, cell.diverged))}
        for figure in FIGURES:
            values = list(cell.differences.get(figure, {}).values())
            row |= bounds(f"{figure}_difference", seeds.over_seeds(values) if values else None)
            margin = self.margins.get(figure)
            if margin is not None:
                row |= {f"{figure}_equivalence_p": equivalence(values, margin).p if values else None}
        return row


def findings(runs: Sequence[Run]) -> Iterator[FrameworkComparison]:
    """Yield every job that has a cell of two frameworks with three seeds in common."""
    for names, members in by_job(runs):
        trained = [run for run in members if arm(run) in ("training", "alone")]
        frameworks = sorted({run.result.framework for run in trained})
        if len(frameworks) != 2:
            continue
        both, final = (frameworks[0], frameworks[1]), of.Final(trained)
        figures: Figures = dict(zip(FIGURES, (final, of.final_loss, of.steps_to_target), strict=True))
        if cells := list(compare(trained, both, figures)):
            yield FrameworkComparison(names, trained, both, cells, final, read_manifest(trained[0].folder.parent))


def compare(runs: Sequence[Run], of_both: tuple[str, str], figures: Figures) -> Iterator[Cell]:
    """Yield every cell of equal settings that has three seeds or more of both frameworks, with its differences."""
    for label, equal in of.split(runs, ("framework",)):
        both = [[run for run in equal if run.result.framework == name] for name in of_both]
        found = {}
        for name, figure in figures.items():
            first, second = (of.by_seed(side, figure) for side in both)
            shared = sorted(first.keys() & second.keys())
            if len(shared) >= FEWEST_SAMPLES:
                found[name] = {seed: first[seed] - second[seed] for seed in shared}
        if "val_metric" in found:
            yield Cell(label, found, (of.diverged(both[0]), of.diverged(both[1])))


def pool(cells: Sequence[Cell], figure: str, margin: float | None) -> Pooled | None:
    """Return what cells say of a figure together; None where no cell has it for every seed that any of them has."""
    seen = sorted({seed for cell in cells for seed in cell.differences["val_metric"]})
    tables = [cell.differences.get(figure, {}) for cell in cells]
    whole = [[table[seed] for seed in seen] for table in tables if table.keys() >= set(seen)]
    if not whole:
        return None
    together = np.mean(whole, axis=0)
    return Pooled(
        figure=figure,
        mean=seeds.over_seeds(together),
        seeds=len(together),
        cells=tuple(seeds.over_seeds(values).mean for values in whole),
        left_out=len(cells) - len(whole),
        apart=sum(seeds.over_seeds(values).leaves_out(0) for values in whole),
        within=None if margin is None else equivalence(together, margin),
        cells_within=0 if margin is None else sum(equivalence(values, margin).shown for values in whole),
    )
