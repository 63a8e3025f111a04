"""Does the framework matter, over several studies? One line a study and figure, in units of the margin it stated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from horovod_runner.analysis.load.groups import bounds
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions import Answer
from horovod_runner.analysis.questions.frameworks import Comparison, Pooled, comparisons
from horovod_runner.analysis.report import words
from horovod_runner.statistics.interval import LEVEL, times

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Line:
    """One study's differences in one figure, over its cells of equal settings; `margin` as it stated it.

    `foretold` says whether it is on record that this was before the first run.
    """

    study: str
    frameworks: tuple[str, str]
    figure: str
    pooled: Pooled
    margin: float | None
    foretold: bool

    @property
    def verdict(self) -> str:
        """Whether the frameworks are equivalent, differ, or neither is shown; both may hold of a small difference."""
        within = self.pooled.within is not None and self.pooled.within.shown
        differ = self.pooled.mean.leaves_out(0)
        told = [name for name, holds in (("equivalent within the margin", within), ("differ", differ)) if holds]
        return ", and ".join(told) or "neither is shown"


def answers(studies: Sequence[Sequence[Run]]) -> list[Answer]:
    """Answer it where two studies or more have both frameworks, with three seeds in common."""
    asked_of = [asked for runs in studies for asked in comparisons(runs)]
    lines = list(_lines(asked_of))
    if len({line.study for line in lines}) < 2:
        return []
    return [
        Answer(
            name="across",
            title="Does the framework matter?",
            sentences=(*map(_sentence, lines), *_untested(asked_of), *_whole(lines)),
            rows=tuple(map(_row, lines)),
            draw=partial(_draw, lines) if any(line.margin is not None for line in lines) else None,
        )
    ]


def _study(asked: Comparison) -> str:
    return ", ".join((asked.runs[0].experiment, *asked.names))


def _lines(asked_of: Sequence[Comparison]) -> Iterator[Line]:
    """Yield a line for each figure that a study stated a margin for, and for its metric whatever it stated."""
    for asked in asked_of:
        for one in asked.pooled():
            if one.figure not in asked.margins and one.figure != "val_metric":
                continue
            yield Line(
                study=_study(asked),
                frameworks=asked.frameworks,
                figure=one.figure,
                pooled=one,
                margin=asked.margins.get(one.figure),
                foretold=asked.foretold,
            )


def _sentence(line: Line) -> str:
    first, second = map(words.framework, line.frameworks)
    one, stated = line.pooled, "no margin stated"
    if line.margin is not None and one.within is not None:
        stated = f"margin ±{line.margin:g}, two one-sided t-tests: p = {one.within.p:.2g}"
    return (
        f"{line.study}: {first} less {second}, {_named(line.figure)}: {words.signed(one.mean)} over {one.over} and"
        f" {one.seeds} seeds ({stated}): {line.verdict}; of the cells alone, {one.apart} leave 0 out, where"
        f" {LEVEL * len(one.cells):.1f} would by chance."
    )


def _untested(asked_of: Sequence[Comparison]) -> Iterator[str]:
    """Yield a sentence for every margin that was stated and cannot be tested."""
    for asked in asked_of:
        for figure in asked.untested():
            yield (
                f"{_study(asked)}: the margin of ±{asked.margins[figure]:g} in {_named(figure)} cannot be tested: no"
                " cell has it for all seeds."
            )


def _whole(lines: Sequence[Line]) -> Iterator[str]:
    """Yield how many of the stated margins hold, and whether all of them were stated in time."""
    tested = [line for line in lines if line.pooled.within is not None]
    held = sum(line.pooled.within is not None and line.pooled.within.shown for line in tested)
    if not tested:
        return
    late = sum(not line.foretold for line in tested)
    record = f" That {late} of them came before the first run is not on record." if late else ""
    stated = "that the studies stated" if late else "that the studies stated before their first run"
    holds = "holds" if held == 1 else "hold"
    yield f"Of {words.count(len(tested), 'margin')} {stated}, {held} {holds}, each at its own 5 %.{record}"


def _named(figure: str) -> str:
    return {"val_metric": "final metric", "val_loss": "last validation loss"}.get(figure, figure.replace("_", " "))


def _row(line: Line) -> dict[str, Any]:
    one = line.pooled
    row: dict[str, Any] = {
        "study": line.study,
        "figure": _named(line.figure),
        "cells": len(one.cells),
        "seeds": one.seeds,
    }
    row |= bounds("difference", one.mean) | {"margin": line.margin}
    row |= {"equivalence_p": None if one.within is None else one.within.p}
    return row | {"cells_left_out": one.left_out, "cells_apart": one.apart, "verdict": line.verdict}


def _draw(lines: Sequence[Line]) -> Figure:
    from horovod_runner.analysis.plots import forest

    first, second = map(words.framework, lines[0].frameworks)
    drawn = [
        forest.Line(
            f"{line.study}: {_named(line.figure)} (±{line.margin:g})",
            times(line.pooled.mean, 1 / line.margin),
            parts=[cell / line.margin for cell in line.pooled.cells],
        )
        for line in lines
        if line.margin is not None
    ]
    below = "in margins; 95 % interval over seeds; ticks: cells"
    panel = forest.Panel(f"{first} − {second}", below, drawn, 1.0)
    return forest.forest([panel])
