"""Does training still converge on many workers? Weak against strong scaling, with warmup and without. (Cunha et al.,
arXiv:1807.09161, 2018.)

Asked of runs on different numbers of workers, virtual ones counted, of which some keep the local batch (weak) and some
the global one (strong).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from horovod_runner.analysis.load.arms import arm
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

SUBJECT = ("framework", "arm", "schedule.warmup_epochs", "schedule.scaling", *of.OF_A_BATCH)
WEAK, STRONG = "weak", "strong"


class Way(NamedTuple):
    """A way of scaling: which batch is fixed, the epochs of warmup, and the rule of the learning rate."""

    scaling: str
    warmup: float
    rule: str

    def told(self, among: Sequence[Way]) -> str:
        """Name the way by what tells it from the others of its scaling."""
        others = [way for way in among if way.scaling == self.scaling]
        warmup = f", warmup {self.warmup:g}" if len({way.warmup for way in others}) > 1 else ""
        rule = f", {words.rule(self.rule)}" if len({way.rule for way in others}) > 1 else ""
        return f"{self.scaling}{warmup}{rule}"


@dataclass(frozen=True)
class Point:
    """One way in one framework on so many workers: the share of runs that converged, and what they ended with.

    `final` and `steps`, to the target, are by seed; a seed that never reached the target has no steps.
    """

    framework: str
    way: Way
    workers: int
    batch: int
    converged: Interval
    runs: int
    diverged: int
    final: Mapping[int, float]
    steps: Mapping[int, float]

    @property
    def to_target(self) -> Interval | None:
        """The mean steps to the target over the seeds that reached it; None where none did."""
        return seeds.over_seeds(self.steps) if self.steps else None


def answers(runs: Sequence[Run]) -> list[Answer]:
    """Answer it for each job scaled weakly and strongly over two numbers of workers or more; none otherwise."""
    made = []
    for names, members in by_job(runs):
        trained = [run for run in members if arm(run) in ("training", "alone") and of.validations(run)]
        for label, equal in of.split(trained, SUBJECT):
            ways = {run.result.scaling for run in equal}
            if {WEAK, STRONG} <= ways and len({all_workers(run) for run in equal}) > 1:
                made.append(_answer([*names, *(f"{key} {value}" for key, value in label.items())], equal))
    return made


def all_workers(run: Run) -> int:
    """Return a run's workers, each of its virtual ones counted."""
    return run.config.all_workers


def converged(run: Run) -> bool:
    """Whether a run completed and, if it had a target, reached it."""
    target, steps = (getattr(run.result, name, None) for name in ("target", "steps_to_target"))
    return run.completed and (target is None or steps is not None)


def points(runs: Sequence[Run], final: of.Final) -> list[Point]:
    """Return every way, framework and number of workers, in this order."""
    cells = of.cells(runs, lambda run: (run.result.framework, _way(run), all_workers(run)))
    return [
        Point(
            framework,
            way,
            workers,
            cell[0].result.global_batch,
            seeds.share(sum(map(converged, cell)), len(cell)),
            len(cell),
            of.diverged(cell),
            of.by_seed(cell, final),
            of.by_seed(cell, of.steps_to_target),
        )
        for (framework, way, workers), cell in cells.items()
    ]


def _way(run: Run) -> Way:
    schedule = run.config.schedule
    return Way(run.result.scaling, schedule.warmup_epochs, schedule.scaling)


def _answer(names: Sequence[str], runs: Sequence[Run]) -> Answer:
    final = of.Final(runs)
    found = points(runs, final)
    ways = sorted({point.way for point in found})
    target = any(getattr(run.result, "target", None) is not None for run in runs)
    meant = (
        "reached the target" if target else "did not diverge (no target was set, so a run that learns little counts)"
    )
    return Answer(
        name="-".join(("converges", *map(words.file_part, names))),
        title=", ".join(("Does training converge on many workers?", *map(words.job, names))),
        sentences=(
            *_shares(found, ways),
            *_differences(found, ways),
            *(_steps(found, ways) if target else ()),
            f"Converged: the run completed and {meant}; the share's interval is Wilson's. {final.told}",
        ),
        rows=tuple(_row(point) for point in found),
        draw=partial(_draw, runs, found, ways, final.metric),
    )


def _shares(found: Sequence[Point], ways: Sequence[Way]) -> Iterator[str]:
    """Yield the share of runs that converge on the most workers, for each framework and way."""
    most = max(point.workers for point in found)
    for framework in sorted({point.framework for point in found}):
        there = [point for point in found if (point.framework, point.workers) == (framework, most)]
        told = [
            f"{point.way.told(ways)} {round(point.converged.mean * point.runs)} of {point.runs}"
            f" {words.bounds(point.converged)}"
            for point in there
        ]
        if told:
            yield f"{words.framework(framework)}, share of runs that converge on {most:,} workers: {'; '.join(told)}."


def _differences(found: Sequence[Point], ways: Sequence[Way]) -> Iterator[str]:
    """Yield weak less strong, and with less without warmup, on the most workers that both have, paired by seed."""
    pairs = [(a, b) for a in ways for b in ways if _comparable(a, b, ways)]
    for framework in sorted({point.framework for point in found}):
        for first, second in pairs:
            both = [
                {point.workers: point for point in found if (point.framework, point.way) == (framework, way)}
                for way in (first, second)
            ]
            shared = both[0].keys() & both[1].keys()
            if not shared:
                continue
            most = max(shared)
            change = seeds.paired(both[0][most].final, both[1][most].final)
            if len(change):
                yield _difference(framework, (first.told(ways), second.told(ways)), most, change)


def _steps(found: Sequence[Point], ways: Sequence[Way]) -> Iterator[str]:
    """Yield each framework's steps to target on the most workers, with how many seeds they stand for."""
    most = max(point.workers for point in found)
    for framework in sorted({point.framework for point in found}):
        told = []
        for point in found:
            if (point.framework, point.workers) == (framework, most):
                steps = point.to_target
                figure = "never" if steps is None else f"{words.with_entries(steps)} ({_of_seeds(point)})"
                told.append(f"{point.way.told(ways)} {figure}")
        start = f"{words.framework(framework)}, steps to target on {most:,} workers, over the seeds that reach it"
        yield f"{start}: {'; '.join(told)}."


def _of_seeds(point: Point) -> str:
    return f"{len(point.steps)} of {words.count(len(point.final), 'seed')}"


def _comparable(a: Way, b: Way, ways: Sequence[Way]) -> bool:
    """Whether b is what a is set against: strong scaling with the same warmup, if there is, or no warmup."""
    if a.scaling == b.scaling:
        return a.rule == b.rule and a.warmup > b.warmup == 0
    alike = [way for way in ways if way.scaling == STRONG and way.warmup == a.warmup]
    return a.scaling == WEAK and b.scaling == STRONG and (b in alike or not alike)


def _difference(framework: str, ways: tuple[str, str], workers: int, changes: Mapping[int, float]) -> str:
    change, verdict = seeds.over_seeds(changes), "no difference is shown"
    if change.leaves_out(0):
        verdict = "better" if change.mean > 0 else "worse"
    start = f"{words.framework(framework)} on {workers:,} workers, final metric, {ways[0]} less {ways[1]}"
    return f"{start}: {words.signed(change)} ({len(changes)} seeds, paired): {verdict}."


def _row(point: Point) -> dict[str, Any]:
    row: dict[str, Any] = {"framework": point.framework, "scaling": point.way.scaling, "workers": point.workers}
    row |= {"batch": point.batch, "warmup_epochs": point.way.warmup, "rule": point.way.rule, "runs": point.runs}
    row |= {"diverged": point.diverged} | bounds("converged", point.converged)
    row |= bounds("final_metric", seeds.over_seeds(point.final) if point.final else None)
    return row | bounds("steps_to_target", point.to_target) | {"seeds_to_target": len(point.steps)}


def _draw(runs: Sequence[Run], found: Sequence[Point], ways: Sequence[Way], metric: str) -> Figure:
    import pandas

    from horovod_runner.analysis.plots.converges import sheet

    rows = [_row(point) | {"way": point.way.told(ways)} for point in found]
    most = max(all_workers(run) for run in runs)
    shown = {run.result.run_id: _way(run).told(ways) for run in runs if all_workers(run) == most and run.completed}
    losses = epoch_table([run for run in runs if run.result.run_id in shown])
    losses["way"] = [shown[name] for name in losses["run_id"]]
    return sheet(pandas.DataFrame(rows), losses, metric, most)
