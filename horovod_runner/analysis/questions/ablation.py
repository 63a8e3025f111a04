"""What does each arm change? Named arms against the first of them, paired by seed.

Asked of runs with two arms or more (`arms` in an experiment file): bundles of settings that go together. The values of
a plain axis are answered as arms are, see `axes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from horovod_runner.analysis.load.groups import bounds
from horovod_runner.analysis.load.learning import not_learned, unlearned
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions import BOTH, Finding, by_job, labelled
from horovod_runner.analysis.questions import samples as of
from horovod_runner.results.store import read_manifest
from horovod_runner.statistics import seeds
from horovod_runner.statistics.interval import LEVEL, Interval
from horovod_runner.statistics.ratios import holm

BASE = "base"
ARM = "arm"


@dataclass(frozen=True)
class Effect:
    """An arm in a framework, or in all: its final metric, and what it changes against the base arm, paired by seed."""

    framework: str
    arm: str
    final: Interval
    change: Interval | None  # None of the base arm, and where no seed is shared with it
    seeds: int
    diverged: int
    p: float | None = None  # that it changes nothing; Holm's, corrected for the number of arms
    not_learned: int | None = None
    seeds_needed: int | None = None  # about so many would show a change as large as this one; see `seeds.needed`

    def verdict(self, step: float) -> str:
        """Say how the arm stands to the base, among all arms; a difference below `step` is none."""
        if self.change is None:
            return BASE
        if self.p is None:
            return seeds.Verdict.TOO_FEW
        if self.p >= LEVEL:
            return seeds.Verdict.INDISTINGUISHABLE
        return seeds.verdict(self.change, step)


@dataclass(frozen=True)
class Ablation(Finding):
    """The effects of every arm by framework; `step`: a difference below it, one validation example's, is none.

    `subject` is `arm`, or the path of the axis whose values stand in the place of arms; `settings` are those of the
    other axes, over which a seed's metric is averaged.
    """

    question: ClassVar[str] = "ablation"

    arms: Sequence[str]
    effects: Sequence[Effect]
    final: of.Final
    step: float
    diverged: int
    runs: int
    subject: str = ARM
    settings: int = 1

    @property
    def stem(self) -> tuple[str, ...]:
        return (self.question if self.subject == ARM else self.subject, *self.names)

    @property
    def open(self) -> bool:
        """Whether of some change it cannot be told that it is one."""
        untold = (seeds.Verdict.INDISTINGUISHABLE, seeds.Verdict.TOO_FEW)
        return any(effect.verdict(self.step) in untold for effect in self.effects)

    @property
    def by_framework(self) -> list[list[Effect]]:
        """The effects of each framework, and of all together, the base arm's first; without those that have no base."""
        together = of.grouped(self.effects, lambda effect: effect.framework)
        return [effects for effects in together.values() if effects[0].change is None]

    def by_verdict(self, effects: Sequence[Effect]) -> list[tuple[str, list[Effect]]]:
        """Return the effects with a change under their verdicts, as far as there are any."""
        told = of.grouped([effect for effect in effects if effect.change], lambda effect: effect.verdict(self.step))
        return [(verdict, told[verdict]) for verdict in seeds.Verdict if verdict in told]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Arms as they stand in CSV: final metric, change against the base, verdict."""
        return [
            {
                ARM if self.subject == ARM else "setting": e.arm,
                "framework": e.framework,
                "seeds": e.seeds,
                "diverged": e.diverged,
            }
            | self.unlearned.column(e.not_learned)
            | bounds("final_metric", e.final)
            | bounds("change", e.change)
            | {"p_holm": e.p}
            | {"verdict": e.verdict(self.step), "seeds_needed": e.seeds_needed}
            for e in self.effects
        ]


def findings(runs: Sequence[Run]) -> list[Ablation]:
    """Find it for each job with runs of two arms or more; none where arms are ways of scaling (`converges`)."""
    made = []
    for names, members in by_job(runs):
        named = [run for run in members if run.config.arm is not None]
        if len({run.result.scaling for run in named}) > 1:
            continue
        for label, equal in of.split(named, ("framework", "arm", *of.constant_within(named, "arm"))):
            arms = in_order({str(run.config.arm) for run in equal}, runs[0])
            if len(arms) > 1:
                made.append(answer(labelled(names, label), [equal], arms, lambda run: str(run.config.arm)))
    return [found for found in made if found.effects]  # runs that never validated have none


def in_order(arms: set[str], run: Run) -> list[str]:
    """Return arms as the experiment file has them, the base first; or `base` first, where the file is not on record."""
    listed = [name for name in read_manifest(run.folder.parent).get("arms", {}) if name in arms]
    return listed + sorted(arms - set(listed), key=lambda name: (name != BASE, name))


def effects(
    settings: Sequence[Sequence[Run]], arms: Sequence[str], final: of.Final, name: Callable[[Run], str]
) -> Iterator[Effect]:
    """Yield every arm's effect by framework, and in all frameworks together.

    `settings` are the runs of each setting of what else varies, over which a seed's metric is averaged; `name` is the
    arm of a run.
    """
    each = [of.pivoted(runs, final, framework=lambda run: run.result.framework, arm=name) for runs in settings]
    metric, runs = sum(each[1:], each[0]) / len(each), [run for setting in settings for run in setting]
    tables = {name: metric[name] for name in sorted(set(metric.columns.get_level_values("framework")))}
    if len(tables) > 1:
        tables[BOTH] = sum(tables.values()) / len(tables)
    for framework, table in tables.items():
        known = {arm: table[arm].dropna() for arm in arms if arm in table and table[arm].notna().any()}
        base = next(iter(known), BASE)
        for arm, values in known.items():
            changes = (values - known[base]).dropna()
            change = None if arm == base or not len(changes) else seeds.over_seeds(changes)
            own = [run for run in runs if name(run) == arm and framework in (run.result.framework, BOTH)]
            p = None if change is None else seeds.p_value(changes)
            needed = None if change is None else seeds.needed(changes, LEVEL / (len(known) - 1))
            final_metric, lost = seeds.over_seeds(values), of.diverged(own)
            yield Effect(framework, arm, final_metric, change, len(values), lost, p, not_learned(own), needed)


def corrected(found: Sequence[Effect]) -> list[Effect]:
    """Return the effects with their p-values corrected for the number of arms, in each framework by itself."""
    made: dict[tuple[str, str], float] = {}
    for framework, those in of.grouped(found, lambda effect: effect.framework).items():
        tested = [(effect.arm, effect.p) for effect in those if effect.p is not None]
        adjusted = holm([p for _, p in tested])
        made |= {(framework, arm): p for (arm, _), p in zip(tested, adjusted, strict=True)}
    return [replace(effect, p=made.get((effect.framework, effect.arm))) for effect in found]


def answer(
    names: tuple[str, ...],
    settings: Sequence[Sequence[Run]],
    arms: Sequence[str],
    name: Callable[[Run], str],
    subject: str = ARM,
) -> Ablation:
    """Return what arms, or the values of an axis, change, over these settings of what else varies."""
    runs = [run for setting in settings for run in setting]
    final, step = of.Final(runs), of.resolution(runs) or 0.0
    found = corrected(list(effects(settings, arms, final, name)))
    lost, places = of.diverged(runs), len(settings)
    return Ablation(names, arms, found, final, step, lost, len(runs), subject, places, unlearned=unlearned(runs))
