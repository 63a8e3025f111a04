"""What does each arm change? Named arms against the first of them, paired by seed.

Asked of runs with two arms or more (`arms` in an experiment file): bundles of settings that go together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from horovod_runner.analysis.load.groups import bounds
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions import BOTH, Finding, by_job, labelled
from horovod_runner.analysis.questions import samples as of
from horovod_runner.results.store import read_manifest
from horovod_runner.statistics import seeds
from horovod_runner.statistics.interval import Interval

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

    def verdict(self, step: float) -> str:
        """Say how the arm stands to the base, where a difference below `step` is none."""
        return BASE if self.change is None else seeds.verdict(self.change, step)


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
        return [
            {"arm": e.arm, "framework": e.framework, "seeds": e.seeds, "diverged": e.diverged}
            | bounds("final_metric", e.final)
            | bounds("change", e.change)
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


def effects(
    finals: Mapping[str, Mapping[str, Mapping[int, float]]], lost: Mapping[str, Mapping[str, int]]
) -> list[Effect]:
    """Return every arm's effect by framework, and in all frameworks together.

    `lost`: diverged runs by framework and arm.
    """
    tables = {name: dict(arms) for name, arms in finals.items()}
    if len(tables) > 1:
        shared = [arm for arm in next(iter(tables.values())) if all(arm in table for table in tables.values())]
        tables[BOTH] = {arm: seeds.mean_of([table[arm] for table in finals.values()]) for arm in shared}
    return [effect for name, arms in tables.items() for effect in _effects(name, arms, lost)]


def _effects(
    framework: str, arms: Mapping[str, Mapping[int, float]], lost: Mapping[str, Mapping[str, int]]
) -> Iterator[Effect]:
    base = next(iter(arms), None)
    for arm, values in arms.items():
        if not values or base is None:
            continue
        changes = seeds.paired(values, arms[base])
        gone = sum(table.get(arm, 0) for name, table in lost.items() if framework in (name, BOTH))
        change = None if arm == base or not len(changes) else seeds.over_seeds(changes)
        yield Effect(framework, arm, seeds.over_seeds(values), change, len(values), gone)


def _ablation(names: tuple[str, ...], runs: Sequence[Run], arms: Sequence[str]) -> Ablation:
    final = of.Final(runs)
    members = of.by_key(runs, lambda run: (run.result.framework, str(run.config.arm)))
    frameworks = sorted({name for name, _ in members})
    finals = {
        name: {arm: of.by_seed(members[name, arm], final) for arm in arms if (name, arm) in members}
        for name in frameworks
    }
    lost = {name: {arm: of.diverged(members.get((name, arm), ())) for arm in arms} for name in frameworks}
    found = effects(finals, lost)
    return Ablation(names, arms, found, final, of.resolution(runs) or 0.0, of.diverged(runs), len(runs))
