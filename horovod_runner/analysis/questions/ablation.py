"""What does each arm change? Named arms against the first of them, paired by seed.

Asked of runs with two arms or more (`arms` in an experiment file): bundles of settings that go together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

    def verdict(self, step: float) -> str:
        """Say how the arm stands to the base, among all arms; a difference below `step` is none."""
        if self.change is None:
            return BASE
        if self.p is None or self.p >= LEVEL:
            return seeds.Verdict.INDISTINGUISHABLE
        return seeds.verdict(self.change, step)


@dataclass(frozen=True)
class Ablation(Finding):
    """The effects of every arm by framework; `step`: a difference below it, one validation example's, is none."""

    question: ClassVar[str] = "ablation"

    arms: Sequence[str]
    effects: Sequence[Effect]
    final: of.Final
    step: float
    diverged: int
    runs: int

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
            {"arm": e.arm, "framework": e.framework, "seeds": e.seeds, "diverged": e.diverged}
            | self.unlearned.column(e.not_learned)
            | bounds("final_metric", e.final)
            | bounds("change", e.change)
            | {"p_holm": e.p}
            | {"verdict": e.verdict(self.step)}
            for e in self.effects
        ]


def findings(runs: Sequence[Run]) -> list[Ablation]:
    """Find it for each job with runs of two arms or more; none where arms are ways of scaling, see `converges`."""
    made = []
    for names, members in by_job(runs):
        named = [run for run in members if run.config.arm is not None]
        if len({run.result.scaling for run in named}) > 1:
            continue
        for label, equal in of.split(named, ("framework", "arm", *of.constant_within(named, "arm"))):
            arms = in_order({str(run.config.arm) for run in equal}, runs[0])
            if len(arms) > 1:
                made.append(_ablation(labelled(names, label), equal, arms))
    return made


def in_order(arms: set[str], run: Run) -> list[str]:
    """Return arms as the experiment file has them, the base first; or `base` first, where the file is not on record."""
    listed = [name for name in read_manifest(run.folder.parent).get("arms", {}) if name in arms]
    return listed + sorted(arms - set(listed), key=lambda name: (name != BASE, name))


def effects(runs: Sequence[Run], arms: Sequence[str], final: of.Final) -> Iterator[Effect]:
    """Yield every arm's effect by framework, and in all frameworks together."""
    metric = of.pivoted(runs, final, framework=lambda run: run.result.framework, arm=lambda run: run.config.arm)
    tables = {name: metric[name] for name in sorted(set(metric.columns.get_level_values("framework")))}
    if len(tables) > 1:
        tables[BOTH] = sum(tables.values()) / len(tables)
    for framework, table in tables.items():
        known = {arm: table[arm].dropna() for arm in arms if arm in table and table[arm].notna().any()}
        base = next(iter(known), BASE)
        for arm, values in known.items():
            changes = (values - known[base]).dropna()
            change = None if arm == base or not len(changes) else seeds.over_seeds(changes)
            own = [run for run in runs if run.config.arm == arm and framework in (run.result.framework, BOTH)]
            p = None if change is None else seeds.p_value(changes)
            lost = of.diverged(own), p, not_learned(own)
            yield Effect(framework, arm, seeds.over_seeds(values), change, len(values), *lost)


def corrected(found: Sequence[Effect]) -> list[Effect]:
    """Return the effects with their p-values corrected for the number of arms, in each framework by itself."""
    made: dict[tuple[str, str], float] = {}
    for framework, those in of.grouped(found, lambda effect: effect.framework).items():
        tested = [(effect.arm, effect.p) for effect in those if effect.p is not None]
        adjusted = holm([p for _, p in tested])
        made |= {(framework, arm): p for (arm, _), p in zip(tested, adjusted, strict=True)}
    return [replace(effect, p=made.get((effect.framework, effect.arm))) for effect in found]


def _ablation(names: tuple[str, ...], runs: Sequence[Run], arms: Sequence[str]) -> Ablation:
    final = of.Final(runs)
    found = corrected(list(effects(runs, arms, final)))
    step, lost = of.resolution(runs) or 0.0, of.diverged(runs)
    return Ablation(names, arms, found, final, step, lost, len(runs), unlearned=unlearned(runs))
