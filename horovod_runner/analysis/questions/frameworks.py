"""Does the framework matter? Differences between two frameworks, paired by seed, and whether they are within a margin.

Asked of runs of two frameworks with three seeds or more in common. The margin is what the experiment file says under
`margins`, which `run` writes down before the first run begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from horovod_runner.analysis.load.arms import arm
from horovod_runner.analysis.load.groups import bounds
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions import Answer, by_job
from horovod_runner.analysis.questions import cells as of
from horovod_runner.analysis.report import words
from horovod_runner.results.store import read_asked
from horovod_runner.statistics import seeds
from horovod_runner.statistics.equivalence import Equivalence, equivalence
from horovod_runner.statistics.interval import FEWEST_SAMPLES, LEVEL, Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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

    @property
    def over(self) -> str:
        """Say over how many cells the mean is taken, and how many were left out."""
        told = words.count(len(self.cells), "cell")
        return told + (f" ({self.left_out} left out, in which a seed lacks it)" if self.left_out else "")


@dataclass(frozen=True)
class Comparison:
    """A job's runs in two frameworks: its cells, how its final metric is taken, and what was asked for beforehand.

    `names` tell the job from others of the same runs, as `by_job` gives them.
    """

    names: Sequence[str]
    runs: Sequence[Run]
    frameworks: tuple[str, str]
    cells: Sequence[Cell]
    final: of.Final
    asked: Mapping[str, Any]

    @property
    def margins(self) -> Mapping[str, float]:
        """The margins that the experiment file states, by figure."""
        return self.asked.get("margins") or {}

    @property
    def foretold(self) -> bool:
        """Whether it is on record that the margins were written down before the first of these runs began."""
        started = min(
            (str(run.provenance["started"]) for run in self.runs if run.provenance.get("started")), default=""
        )
        stated = str(self.asked.get("stated", ""))
        return bool(self.margins and started and stated) and stated[:19] <= started[:19]

    def pooled(self) -> list[Pooled]:
        """Return what the cells say together, of each figure that they have."""
        every = (pool(self.cells, figure, self.margins.get(figure)) for figure in FIGURES)
        return [one for one in every if one is not None]

    def untested(self) -> list[str]:
        """Return the figures with a margin that these cells cannot be held to."""
        return sorted(self.margins.keys() - {one.figure for one in self.pooled()})


def answers(runs: Sequence[Run]) -> list[Answer]:
    """Answer it for each job with runs of two frameworks; none where they have too few seeds in common."""
    return list(map(_answer, comparisons(runs)))


def comparisons(runs: Sequence[Run]) -> Iterator[Comparison]:
    """Yield every job that has a cell of two frameworks."""
    for names, members in by_job(runs):
        trained = [run for run in members if arm(run) in ("training", "alone")]
        frameworks = sorted({run.result.framework for run in trained})
        if len(frameworks) != 2:
            continue
        both, final = (frameworks[0], frameworks[1]), of.Final(trained)
        figures: Figures = dict(zip(FIGURES, (final, of.final_loss, of.steps_to_target), strict=True))
        if cells := list(compare(trained, both, figures)):
            yield Comparison(names, trained, both, cells, final, read_asked(trained[0].folder.parent))


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


def _answer(asked: Comparison) -> Answer:
    known = asked.pooled()
    named = dict(
        zip(
            FIGURES,
            (f"final {asked.final.metric.replace('_', ' ')}", "last validation loss", "steps to target"),
            strict=True,
        )
    )
    sentences = [sentence for one in known for sentence in _told(one, asked, named[one.figure])]
    for figure in asked.untested():
        margin = f"The stated margin of ±{asked.margins[figure]:g} in {named[figure]}"
        sentences.append(f"{margin} cannot be tested: no cell has it for all seeds.")
    sentences += [*_stated(asked), asked.final.told + _lost(asked)]
    return Answer(
        name="-".join(("frameworks", *map(words.file_part, asked.names))),
        title=", ".join(("Does the framework matter?", *map(words.job, asked.names))),
        sentences=tuple(sentences),
        rows=tuple(_row(cell, asked.margins) for cell in asked.cells),
        draw=partial(_draw, asked, known, named),
    )


def _told(one: Pooled, asked: Comparison, figure: str) -> Iterator[str]:
    first, second = map(words.framework, asked.frameworks)
    over = f"{one.over} of equal settings and {one.seeds} seeds, paired by seed"
    what = "a difference" if one.mean.leaves_out(0) else "no difference is shown"
    chance = f"{LEVEL * len(one.cells):.1f} would by chance"
    yield (
        f"{first} less {second}, {figure}, over {over}: {words.signed(one.mean)}: {what}. In {one.apart} of the"
        f" {words.count(len(one.cells), 'cell')} alone the 95 % interval leaves 0 out, where {chance}."
    )
    if one.within is None:
        return
    margin, test = asked.margins[one.figure], one.within
    verdict = "equivalent within" if test.shown else "equivalence is not shown at"
    yield (
        f"The frameworks' {figure}: {verdict} the stated margin of ±{margin:g} (two one-sided t-tests on the mean over"
        f" cells: p = {test.p:.2g}, 90 % interval [{words.entry(test.low)}, {words.entry(test.high)}]); of the cells"
        f" alone, {one.cells_within} of {len(one.cells)} are shown to be."
    )


def _stated(asked: Comparison) -> Iterator[str]:
    """Yield when the margins were stated, seen from the first run, or that there are none."""
    if not asked.margins:
        yield (
            "No margin was stated (margins, in the experiment file), so that nothing is said to be equivalent: an"
            " interval that holds 0 is no proof of that."
        )
    elif asked.foretold:
        stated = str(asked.asked["stated"])[:16]
        yield f"The margins were written down at {stated} UTC, before the first of these runs began."
    else:
        yield "That the margins were stated before the first of these runs began is not on record."


def _lost(asked: Comparison) -> str:
    lost = [sum(cell.diverged[side] for cell in asked.cells) for side in (0, 1)]
    named = zip(lost, asked.frameworks, strict=True)
    told = " and ".join(f"{count} of {words.framework(name)}" for count, name in named)
    return f" Diverged: {told}; a pair without a last loss is left out of the losses' differences." if any(lost) else ""


def _row(cell: Cell, margins: Mapping[str, float]) -> dict[str, Any]:
    row: dict[str, Any] = {"settings": words.short_settings(cell.settings)}
    row |= {"seeds": len(cell.differences["val_metric"]), "diverged": "/".join(map(str, cell.diverged))}
    for figure in FIGURES:
        values = list(cell.differences.get(figure, {}).values())
        row |= bounds(f"{figure}_difference", seeds.over_seeds(values) if values else None)
        margin = margins.get(figure)
        if margin is not None:
            row |= {f"{figure}_equivalence_p": equivalence(values, margin).p if values else None}
    return row


def _draw(asked: Comparison, pooled: Sequence[Pooled], named: Mapping[str, str]) -> Figure:
    from horovod_runner.analysis.plots.forest import Line, Panel, forest

    first, second = map(words.framework, asked.frameworks)
    panels = []
    for one in pooled:
        if not all(one.figure in cell.differences for cell in asked.cells):
            continue
        lines = [
            Line(
                words.short_settings(cell.settings) or "all runs",
                seeds.over_seeds(cell.differences[one.figure]),
            )
            for cell in asked.cells
        ]
        lines += [Line("all together", one.mean, whole=True)] if len(asked.cells) > 1 else []
        title = named[one.figure][:1].upper() + named[one.figure][1:]
        panels.append(Panel(title, f"{first} − {second}, 95 % interval", lines, asked.margins.get(one.figure)))
    return forest(panels)
