"""Does the best warmup grow with the batch? (McCord & Dash, SC21 poster.)

Asked of runs with three lengths of warmup or more; batches, learning-rate rules and frameworks are told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from horovod_runner.analysis.load.groups import bounds
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.load.tables import epoch_table
from horovod_runner.analysis.questions import Answer, by_job
from horovod_runner.analysis.questions import cells as of
from horovod_runner.analysis.report import words
from horovod_runner.statistics import seeds
from horovod_runner.statistics.interval import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEWEST_WARMUPS = 3
SUBJECT = ("framework", "schedule.warmup_epochs", "schedule.scaling", *of.OF_A_BATCH)
BOTH = "both"


class Place(NamedTuple):
    """Where warmups are compared: one framework, one rule of scaling the learning rate, one batch."""

    framework: str
    rule: str
    batch: int


Samples = dict[Place, dict[float, dict[int, float]]]
"""The final metric by place, epochs of warmup, and seed."""


Choice = Callable[[NDArray[np.float64], Sequence[float]], NDArray[np.float64]]
"""From means, shape (..., warmups), and the warmups to the one that is chosen, shape (...)."""


@dataclass(frozen=True)
class Growth:
    """The warmup that is chosen at each batch, and its slope on the batch: epochs for 1,000 images more."""

    framework: str
    rule: str
    batches: tuple[int, ...]
    warmups: tuple[float, ...]
    chosen: tuple[float, ...]
    per_thousand: Interval
    seeds: int


def answers(runs: Sequence[Run]) -> list[Answer]:
    """Answer it for each job whose runs have three lengths of warmup or more; none otherwise."""
    return [_answer(names, equal) for names, equal in asking(runs)]


def asking(runs: Sequence[Run]) -> Iterator[tuple[tuple[str, ...], list[Run]]]:
    """Yield the runs of each job that have three lengths of warmup or more, with the names to tell them apart by."""
    for names, members in by_job(runs):
        for label, equal in of.split(members, SUBJECT):
            if len({_warmup(run) for run in equal}) >= FEWEST_WARMUPS:
                yield (*names, *(f"{key} {value}" for key, value in label.items())), equal


def sampled(runs: Sequence[Run], final: of.Final) -> tuple[dict[tuple[Place, float], list[Run]], Samples]:
    """Return the runs of every place and warmup, and of those that have one their final metric by seed."""
    members = of.cells(runs, lambda run: (_place(run), _warmup(run)))
    samples: Samples = {
        place: {warmup: by_seed for (_, warmup), cell in group if (by_seed := of.by_seed(cell, final))}
        for place, group in groupby(members.items(), key=lambda item: item[0][0])
    }
    return members, {place: table for place, table in samples.items() if table}


def growths(samples: Samples, choose: Choice = seeds.best_setting) -> list[Growth]:
    """Return how a choice of warmup goes with the batch, for each framework and rule, and all frameworks together.

    By default it is the best one, which has the largest mean over seeds. It is made anew in every draw of the
    bootstrap. Warmups that not every batch has, and seeds that not every cell has, are left out; so is what has a
    single batch.
    """
    found = []
    for rule in sorted({place.rule for place in samples}):
        frameworks = sorted({place.framework for place in samples if place.rule == rule})
        tables = {name: {p.batch: t for p, t in samples.items() if p[:2] == (name, rule)} for name in frameworks}
        if len(frameworks) > 1:
            tables[BOTH] = _together(list(tables.values()))
        found += [_growth(name, rule, table, choose) for name, table in tables.items()]
    return [growth for growth in found if growth is not None]


def against_the_best(table: dict[float, dict[int, float]]) -> tuple[float, dict[float, Interval]]:
    """Return the warmup with the largest mean, and what it gains over each other one, paired by seed."""
    means = {warmup: seeds.over_seeds(values).mean for warmup, values in table.items()}
    best = max(means, key=lambda warmup: means[warmup])
    others = {warmup: seeds.paired(table[best], values) for warmup, values in table.items() if warmup != best}
    return best, {warmup: seeds.over_seeds(gains) for warmup, gains in others.items() if len(gains)}


def _warmup(run: Run) -> float:
    return run.config.schedule.warmup_epochs


def _place(run: Run) -> Place:
    return Place(run.result.framework, run.config.schedule.scaling, run.result.global_batch)


def _growth(
    framework: str, rule: str, table: dict[int, dict[float, dict[int, float]]], choose: Choice
) -> Growth | None:
    if len(table) < 2:
        return None
    batches = sorted(table)
    warmups = sorted(set.intersection(*(set(table[batch]) for batch in batches)))
    cells = [[table[batch][warmup] for warmup in warmups] for batch in batches]
    shared = sorted(set.intersection(*(set(cell) for row in cells for cell in row))) if warmups else []
    if len(warmups) < FEWEST_WARMUPS or not shared:
        return None
    values = np.array([[[cell[seed] for seed in shared] for cell in row] for row in cells])

    thousands = [batch / 1000 for batch in batches]

    def slope(means: NDArray[np.float64]) -> NDArray[np.float64]:
        # Rounded, so that a slope of nothing is nothing, and not a negative one.
        return seeds.slope(thousands, choose(means, warmups)).round(9) + 0.0

    chosen = tuple(choose(values.mean(axis=-1), warmups).tolist())
    per_thousand = seeds.resampled(values, slope)
    return Growth(framework, rule, tuple(batches), tuple(warmups), chosen, per_thousand, len(shared))


def _together(
    tables: Sequence[dict[int, dict[float, dict[int, float]]]],
) -> dict[int, dict[float, dict[int, float]]]:
    """Return the mean over frameworks, by batch, warmup and seed, of what all of them have."""
    batches = set.intersection(*(set(table) for table in tables))
    return {
        batch: {
            warmup: seeds.mean_of([table[batch][warmup] for table in tables])
            for warmup in set.intersection(*(set(table[batch]) for table in tables))
        }
        for batch in batches
    }


def _answer(names: Sequence[str], runs: Sequence[Run]) -> Answer:
    final = of.Final(runs)
    members, samples = sampled(runs, final)
    step, lost = of.resolution(runs) or 0.0, of.diverged(runs)
    failed = f" {words.count(lost, 'run')} of {len(runs)} diverged." if lost else " No run diverged."
    told = list(map(_told, growths(samples)))
    grid = (
        "A slope's interval knows the warmups that were tried alone: where every draw picks the same, it has no width."
    )
    sentences = (*told, *([grid] if told else []), *_doubt(samples, step), final.told + failed)
    return Answer(
        name="-".join(("warmup", *map(words.file_part, names))),
        title=", ".join(("Does the best warmup grow with the batch?", *map(words.job, names))),
        sentences=sentences,
        rows=tuple(_rows(samples, members, step)),
        draw=partial(_draw, runs, final.metric),
    )


def _told(growth: Growth) -> str:
    who = "All frameworks together" if growth.framework == BOTH else words.framework(growth.framework)
    where = ", ".join(f"{best:g} at {batch:,}" for best, batch in zip(growth.chosen, growth.batches, strict=True))
    grid = ", ".join(f"{warmup:g}" for warmup in growth.warmups)
    start = f"{who}, {words.rule(growth.rule)}: the best of {grid} epochs of warmup is {where} images a step"
    rate = f"{words.with_bounds(growth.per_thousand)} epochs for 1,000 images more ({growth.seeds} seeds)"
    if growth.per_thousand.ci95_low is None:
        return f"{start}, a slope of {rate}: too few seeds to say whether it grows."
    if not growth.per_thousand.leaves_out(0):
        return f"{start}, a slope of {rate}: that the best warmup changes with the batch is not shown."
    shape = " Two batches cannot tell a line from another shape." if len(growth.batches) == 2 else ""
    verb = "grows" if growth.per_thousand.mean > 0 else "shrinks"
    return f"{start}; it {verb} with the batch, with a slope of {rate}.{shape}"


def _doubt(samples: Samples, step: float) -> Iterator[str]:
    """Yield how often the best warmup is the best beyond what seeds and one validation example change."""
    ties = {}
    for place, table in samples.items():
        best, gains = against_the_best(table)
        ties[place] = (best, [warmup for warmup, gain in gains.items() if not seeds.apart(gain, step)], len(gains))
    if not ties:
        return
    edge = sorted({place.batch for place, table in samples.items() if len(table) > 1 and ties[place][0] == max(table)})
    if edge:
        yield (
            f"At a batch of {', '.join(f'{batch:,}' for batch in edge)} the best is, in some combination of framework"
            " and rule, the longest warmup that was tried: a longer one may be better still."
        )
    open_ones = sum(bool(tied) for _, tied, _ in ties.values())
    all_tied = sum(len(tied) == others for _, tied, others in ties.values())
    least = f" or by less than one validation example ({step:.4f})" if step else ""
    yield (
        f"In {open_ones} of {len(ties)} combinations of framework, rule and batch the best warmup cannot be told from"
        f" at least one other (a paired 95 % interval that holds 0{least}; each at its own 95 %), and in {all_tied}"
        f" from any of the others{': a null result there' if all_tied else ''}."
    )


def _rows(samples: Samples, members: dict[tuple[Place, float], list[Run]], step: float) -> Iterator[dict[str, Any]]:
    for place, table in samples.items():
        best, gains = against_the_best(table)
        for warmup, values in sorted(table.items()):
            cell = members[place, warmup]
            row: dict[str, Any] = place._asdict() | {"warmup_epochs": warmup, "seeds": len(values)}
            row |= {"diverged": of.diverged(cell)} | bounds("final_metric", seeds.over_seeds(values))
            gain = gains.get(warmup)
            row |= bounds("best_gains", gain)
            yield row | {"verdict": "best" if warmup == best else _verdict(gain, step)}


def _verdict(gain: Interval | None, step: float) -> str:
    if gain is None:
        return "no seed in common with the best"
    return "worse" if seeds.apart(gain, step) else "not told from the best"


def _draw(runs: Sequence[Run], metric: str) -> Figure:
    from horovod_runner.analysis.plots.warmup import curves

    table = epoch_table([run for run in runs if run.completed]).dropna(subset=["val_metric"])
    by_id = {run.result.run_id: run for run in runs}
    table["rule"] = [_place(by_id[name]).rule for name in table["run_id"]]
    table["warmup"] = [_warmup(by_id[name]) for name in table["run_id"]]
    table = table.rename(columns={"global_batch": "batch", "val_metric": "value"})
    lost = {place: of.diverged(cell) for place, cell in of.cells(runs, lambda run: _place(run)[1:]).items()}
    return curves(table, metric, lost)
