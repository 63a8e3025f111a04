"""Strategies side by side: what each costs over compute-only workers, and how much of it computing hides.

One `Comparison` for runs that are equal but for the variant (the strategy and the settings of the layer): one job, one
machine. A run that writes Horovod's timeline is slowed down by it where cores are shared, so that a variant's speed
comes from runs without one, where there are any, and its breakdown from those with one.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np

from horovod_runner.analysis.load.arms import OF_AN_ARM, but_for_the_arm
from horovod_runner.analysis.load.groups import Cell, Group, bounds
from horovod_runner.analysis.questions.scaling.parts import NAMES, Split, split
from horovod_runner.config.strategies import COMPUTE_ONLY, STRATEGIES
from horovod_runner.results.record import StepBreakdown
from horovod_runner.statistics import seeds
from horovod_runner.statistics.bootstrap import percentiles, resampled
from horovod_runner.statistics.interval import FEWEST_SAMPLES, LEVEL, Interval, ratio
from horovod_runner.statistics.ratios import holm
from horovod_runner.statistics.student import geometric

TIMELINE = "allreduce.timeline"
EXPOSED = 1 + NAMES.index("communication")


@dataclass(frozen=True)
class Variant:
    """One strategy, in one framework on one number of workers.

    `settings`: what tells it from the other variants, the strategy first. `of_compute_only`: its images a second over
    those of as many compute-only workers. `exposed`: seconds of a step less those of the slowest compute-only worker,
    `exposed_share` that over its step; noise may make them negative. `overlapped`: 1 - exposed / time in which
    something is copied or reduced, by the timeline; below zero where waiting, agreeing and sharing cores cost more than
    the reduction itself takes. Intervals are over runs, their bounds None below three; what nobody measured is None.
    `traced`: all its runs wrote a timeline.
    """

    framework: str
    workers: int
    settings: Mapping[str, Any]
    cell: Cell
    step_seconds: float
    of_compute_only: Interval | None = None
    exposed: Interval | None = None
    exposed_share: Interval | None = None
    overlapped: Interval | None = None
    breakdown: StepBreakdown | None = None
    traced: bool = False

    @property
    def name(self) -> str:
        """The strategy, and the settings that vary beside it."""
        others = (f"{key.rsplit('.', 1)[-1]} {_plain(value)}" for key, value in list(self.settings.items())[1:])
        return ", ".join([str(self.settings["strategy"]), *others])

    @property
    def images_per_second(self) -> Interval:
        """With the interval over runs."""
        speed = self.cell.images_per_second
        assert speed is not None
        return _over_runs(speed, self.cell)


@dataclass(frozen=True)
class Comparison:
    """Strategies on equal terms, by workers, framework and strategy; `compute_only`: the cells that do without.

    `group`: one of those that are compared, for all that they have in common; its `distinct` settings are those that
    tell this comparison from the job's others.
    """

    group: Group
    variants: tuple[Variant, ...]
    compute_only: Mapping[tuple[str, int], Cell]

    @property
    def several(self) -> bool:
        """Whether there is more than one variant to compare."""
        return len({variant.name for variant in self.variants}) > 1

    @property
    def places(self) -> list[tuple[str, int]]:
        """Frameworks and numbers of workers."""
        return list(dict.fromkeys((variant.framework, variant.workers) for variant in self.variants))

    def at(self, framework: str, workers: int) -> list[Variant]:
        """Return the variants of a framework on a number of workers."""
        return [variant for variant in self.variants if (variant.framework, variant.workers) == (framework, workers)]

    @property
    def broken_down(self) -> list[Variant]:
        """The variants of which there is a timeline."""
        return [variant for variant in self.variants if variant.breakdown]


def comparisons(groups: Iterable[Group]) -> list[Comparison]:
    """Return the comparisons that these groups allow: of several variants, or of one with compute-only workers."""
    together: dict[str, list[Group]] = defaultdict(list)
    for group in groups:
        settings = but_for_the_arm(group.settings)
        together[json.dumps([group.experiment, group.machine, settings], sort_keys=True)].append(group)
    made = (_comparison(members) for members in together.values())
    return [one for one in made if one.variants and (one.several or one.compute_only or one.broken_down)]


def rows(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """Yield one flat row a framework, number of workers and variant, compute-only workers first; None is unknown."""
    group = comparison.group
    place = {name: getattr(group, name) for name in ("experiment", "workload", "scaling", "fixed_batch", "machine")}
    settings = {"settings": dict(comparison.group.distinct)}
    for framework, workers in comparison.places:
        who = place | {"framework": framework, "workers": workers}
        compute_only = comparison.compute_only.get((framework, workers))
        if compute_only and compute_only.images_per_second:
            figures = {"strategy": COMPUTE_ONLY, "variant": COMPUTE_ONLY, "runs": len(compute_only.completed)}
            speed = bounds("images_per_second", _over_runs(compute_only.images_per_second, compute_only))
            yield who | figures | {"traced": False} | speed | settings
        for variant in comparison.at(framework, workers):
            yield who | _row(variant) | settings


class Verdict(StrEnum):
    """Whether one variant is the fastest."""

    FASTEST = "fastest"
    INDISTINGUISHABLE = "indistinguishable"
    TOO_FEW = "too few runs"


@dataclass(frozen=True)
class Ranking:
    """How variants of one framework on a number of workers rank: the first, and what it gains over each other one."""

    first: Variant
    variants: Sequence[Variant]
    gains: Mapping[str, Interval]
    verdict: Verdict
    behind: frozenset[str] = frozenset()  # the names of those that are slower, at 5 % for all of them together (Holm)

    @property
    def framework(self) -> str:
        """Whose variants they are."""
        return self.first.framework

    @property
    def workers(self) -> int:
        """On how many workers."""
        return self.first.workers

    @property
    def slower(self) -> list[Variant]:
        """The variants that are slower than the first."""
        return [variant for variant in self.variants if self._behind(variant)]

    @property
    def level(self) -> list[Variant]:
        """The first, and the variants that are indistinguishable from it."""
        return [variant for variant in self.variants if not self._behind(variant)]

    @property
    def gain(self) -> Interval:
        """The first over the next."""
        return min(self.gains.values(), key=lambda interval: interval.mean)

    def _behind(self, variant: Variant) -> bool:
        return variant.name in self.behind


def rankings(comparison: Comparison) -> list[Ranking]:
    """Return how the variants rank, for each framework and number of workers that has several."""
    if not comparison.several:
        return []
    return [_ranking(comparison.at(*place)) for place in comparison.places if len(comparison.at(*place)) > 1]


def _ranking(variants: Sequence[Variant]) -> Ranking:
    first = max(variants, key=lambda variant: variant.images_per_second.mean)
    others = [variant for variant in variants if variant is not first]
    gains = {other.name: _paired(first.cell, other.cell) for other in others}
    if any(variant.images_per_second.ci95_low is None for variant in variants):
        return Ranking(first, variants, gains, Verdict.TOO_FEW)
    p_values = [seeds.p_value(_log_ratios(first.cell, other.cell)) for other in others]
    if all(p is not None for p in p_values):
        adjusted = holm([p for p in p_values if p is not None])
        behind = {other.name for other, p in zip(others, adjusted, strict=True) if p < LEVEL}
    else:  # repeats that do not pair are two samples of their own
        behind = {other.name for other in others if gains[other.name].lies_above(1)}
    alone = Verdict.FASTEST if len(behind) == len(others) else Verdict.INDISTINGUISHABLE
    return Ranking(first, variants, gains, alone, frozenset(name for name in behind if gains[name].mean > 1))


def _paired(top: Cell, bottom: Cell) -> Interval:
    """Return the ratio of speeds, paired by repeat, which a machine's drift hits alike; else that of two samples."""
    logs = _log_ratios(top, bottom)
    if len(logs) >= FEWEST_SAMPLES:
        return geometric(logs)
    assert top.images_per_second and bottom.images_per_second
    return ratio(_over_runs(top.images_per_second, top), _over_runs(bottom.images_per_second, bottom))


def _log_ratios(top: Cell, bottom: Cell) -> list[float]:
    """Return the logarithm of the ratio of speeds for each seed and repeat that both cells have."""
    speeds = [
        {
            (run.result.seed, run.result.repeat): run.result.images_per_second.mean
            for run in cell.completed
            if run.result.images_per_second
        }
        for cell in (top, bottom)
    ]
    return [math.log(speeds[0][pair] / speeds[1][pair]) for pair in sorted(speeds[0].keys() & speeds[1].keys())]


def _row(variant: Variant) -> dict[str, Any]:
    row = {
        "strategy": variant.settings["strategy"],
        "variant": variant.name,
        "runs": len(variant.cell.completed),
        "traced": variant.traced,
    }
    row |= bounds("images_per_second", variant.images_per_second) | bounds("of_compute_only", variant.of_compute_only)
    row |= {"step_seconds": variant.step_seconds} | bounds("exposed_seconds", variant.exposed)
    row |= bounds("exposed_share", variant.exposed_share) | bounds("overlapped", variant.overlapped)
    if variant.breakdown:
        row |= {"traced_step_seconds": variant.breakdown.step_seconds, "busy_seconds": variant.breakdown.busy_seconds}
        row |= {f"{phase}_seconds": seconds for phase, seconds in variant.breakdown.seconds.items()}
        row |= {f"summed_{phase}_seconds": seconds for phase, seconds in variant.breakdown.summed_seconds.items()}
    return row


def _comparison(members: Sequence[Group]) -> Comparison:
    keys = _varied(members)
    variants: dict[tuple[int, str, int, str], Variant] = {}
    compute_only: dict[tuple[str, int], Cell] = {}
    for group in sorted(members, key=_traced):  # what has no timeline first: the others only add their breakdown
        for cell in (cell for cell in group.cells if cell.workers > 1):
            if cell.ceiling and cell.ceiling.images_per_second:
                compute_only[cell.framework, cell.workers] = cell.ceiling
            if cell.images_per_second and cell.runs[0].config.reduction.reduces:
                variant = _variant(cell, {key: group.settings.get(key) for key in keys}, _traced(group))
                place = (cell.workers, cell.framework, _rank(variant), variant.name)
                variants[place] = _with_breakdown(variants[place], cell) if place in variants else variant
    shared = {key: value for key, value in members[0].distinct.items() if not key.startswith(OF_AN_ARM)}
    return Comparison(
        replace(members[0], distinct=shared), tuple(variants[place] for place in sorted(variants)), compute_only
    )


def _varied(members: Sequence[Group]) -> list[str]:
    """Return the settings that tell variants apart, the strategy first."""
    keys = dict.fromkeys(key for group in members for key in group.settings if key.startswith(OF_AN_ARM))
    values = {key: {json.dumps(group.settings.get(key)) for group in members} for key in keys}
    varied = [key for key in keys if len(values[key]) > 1 and key not in ("strategy", "measure", TIMELINE)]
    return ["strategy", *varied]


def _rank(variant: Variant) -> int:
    return list(STRATEGIES).index(variant.settings["strategy"])


def _traced(group: Group) -> bool:
    return any(run.config.allreduce.timeline for cell in group.cells for run in cell.runs)


def _variant(cell: Cell, settings: Mapping[str, Any], traced: bool) -> Variant:
    made = split(cell, np.random.default_rng(cell.workers))
    variant = Variant(cell.framework, cell.workers, settings, cell, float(made.mean[0, 0]), traced=traced)
    if cell.ceiling and cell.ceiling.images_per_second and made.complete:
        exposed, share = _exposed(made)
        of_compute_only = _paired(cell, cell.ceiling)
        variant = replace(variant, of_compute_only=of_compute_only, exposed=exposed, exposed_share=share)
    return _with_breakdown(variant, cell)


def _exposed(made: Split) -> tuple[Interval, Interval]:
    """Return the exposed communication in seconds, and as a share of the step."""
    step, exposed = float(made.mean[0, 0]), float(made.mean[0, EXPOSED])
    if made.drawn is None:
        return Interval(exposed, None, None), Interval(exposed / step, None, None)
    drawn = made.drawn[:, EXPOSED]
    return percentiles(exposed, drawn), percentiles(exposed / step, drawn / made.drawn[:, 0])


def _with_breakdown(variant: Variant, traced: Cell) -> Variant:
    """Add what the timelines of a cell's runs say, if they say anything; of several runs their mean."""
    breakdowns = [run.result.timeline for run in traced.completed if run.result.timeline]
    if not breakdowns:
        return variant
    return replace(variant, breakdown=_mean_breakdown(breakdowns), overlapped=_overlapped(variant, breakdowns))


def _overlapped(variant: Variant, breakdowns: Sequence[StepBreakdown]) -> Interval | None:
    """Return 1 - exposed / busy; the interval takes both as scattering, where there are three runs of each arm."""
    busy = np.array([breakdown.busy_seconds for breakdown in breakdowns])
    if variant.exposed is None or not busy.mean() > 0:
        return None
    middle = 1 - variant.exposed.mean / float(busy.mean())
    made = split(variant.cell, np.random.default_rng(variant.workers))
    if made.drawn is None or len(busy) < FEWEST_SAMPLES:
        return Interval(middle, None, None)
    drawn = resampled(busy[:, None], np.random.default_rng(len(busy)))[:, 0]
    return percentiles(middle, 1 - made.drawn[:, EXPOSED] / drawn)


def _mean_breakdown(breakdowns: Sequence[StepBreakdown]) -> StepBreakdown:
    def mean(name: str) -> dict[str, float]:
        phases = getattr(breakdowns[0], name)
        return {phase: float(np.mean([getattr(each, name)[phase] for each in breakdowns])) for phase in phases}

    ready = [each.last_ready for each in breakdowns if each.last_ready]
    return StepBreakdown(
        steps=sum(each.steps for each in breakdowns),
        step_seconds=float(np.mean([each.step_seconds for each in breakdowns])),
        seconds=mean("seconds"),
        summed_seconds=mean("summed_seconds"),
        last_ready=tuple(int(sum(counts)) for counts in zip(*ready, strict=True)),
    )


def _over_runs(speed: Interval, cell: Cell) -> Interval:
    """Return the interval over runs; what a single run says of its own steps is none."""
    return speed if len(cell.completed) >= FEWEST_SAMPLES else speed.without_bounds()


def _plain(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "default", True: "on", False: "off"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
