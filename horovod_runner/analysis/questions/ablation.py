"""What does each arm change? Named arms against the first of them, paired by seed.

Asked of runs with two arms or more (`arms` in an experiment file): bundles of settings that go together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from horovod_runner.analysis.load.groups import bounds
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions import Answer, by_job
from horovod_runner.analysis.questions import cells as of
from horovod_runner.analysis.report import words
from horovod_runner.results.store import read_asked
from horovod_runner.statistics import seeds
from horovod_runner.statistics.interval import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BOTH = "both"
BASE = "base"
Finals = Mapping[str, Mapping[str, Mapping[int, float]]]
"""The final metric by framework, arm (the base first) and seed."""


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
        if self.change is None:
            return "base"
        if not seeds.apart(self.change, step):
            return "not told from the base"
        return "better" if self.change.mean > 0 else "worse"


def answers(runs: Sequence[Run]) -> list[Answer]:
    """Answer it for each job with runs of two arms or more; none where arms are ways of scaling, see `converges`."""
    made = []
    for names, members in by_job(runs):
        named = [run for run in members if run.config.arm is not None]
        if len({run.result.scaling for run in named}) > 1:
            continue
        for label, equal in of.split(named, ("framework", "arm", *of.constant_within(named, "arm"))):
            arms = in_order({str(run.config.arm) for run in equal}, runs[0])
            if len(arms) > 1:
                told = [*names, *(f"{key} {value}" for key, value in label.items())]
                made.append(_answer(told, equal, arms))
    return made


def in_order(arms: set[str], run: Run) -> list[str]:
    """Return arms as the experiment file has them, the base first; or `base` first, where the file is not on record."""
    listed = [name for name in read_asked(run.folder.parent).get("arms", {}) if name in arms]
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


def _answer(names: Sequence[str], runs: Sequence[Run], arms: Sequence[str]) -> Answer:
    final, step = of.Final(runs), of.resolution(runs) or 0.0
    members = of.cells(runs, lambda run: (run.result.framework, str(run.config.arm)))
    frameworks = sorted({name for name, _ in members})
    finals = {
        name: {arm: of.by_seed(members[name, arm], final) for arm in arms if (name, arm) in members}
        for name in frameworks
    }
    lost = {name: {arm: of.diverged(members.get((name, arm), ())) for arm in arms} for name in frameworks}
    found = effects(finals, lost)
    sentences = [_told(name, [e for e in found if e.framework == name], step) for name in (*frameworks, BOTH)]
    gone = of.diverged(runs)
    doubt = f"Each interval is at its own 95 %: of {len(arms) - 1} arms without effect, one or another may look as if"
    doubt += f" it had one.{f' A difference below one validation example ({step:.4f}) counts as none.' if step else ''}"
    failed = f" {words.count(gone, 'run')} of {len(runs)} diverged." if gone else " No run diverged."
    return Answer(
        name="-".join(("ablation", *map(words.file_part, names))),
        title=", ".join(("What does each arm change?", *map(words.job, names))),
        sentences=(*filter(None, sentences), doubt, final.told + failed),
        rows=tuple(_row(effect, step) for effect in found),
        draw=partial(_draw, found, final.metric, arms),
    )


def _told(framework: str, found: Sequence[Effect], step: float) -> str:
    """Return which arms are better, worse, or not told from the base, each with its change; empty of none."""
    if not found or found[0].change is not None:
        return ""
    who = "All frameworks together" if framework == BOTH else words.framework(framework)
    base, others = found[0], found[1:]
    parts = []
    for verdict in ("better", "worse", "not told from the base"):
        told = [f"{e.arm} {words.signed(e.change)}" for e in others if e.change and e.verdict(step) == verdict]
        parts += [f"{verdict}: {', '.join(told)}"] if told else []
    if not any(effect.verdict(step) in ("better", "worse") for effect in others):
        parts.append("so that no arm is shown to change anything")
    start = f"{who}, against {base.arm} ({words.with_entries(base.final)}; {base.seeds} seeds, paired)"
    return f"{start}: {'; '.join(parts)}."


def _row(effect: Effect, step: float) -> dict[str, Any]:
    row: dict[str, Any] = {"arm": effect.arm, "framework": effect.framework, "seeds": effect.seeds}
    row |= {"diverged": effect.diverged} | bounds("final_metric", effect.final)
    return row | bounds("change", effect.change) | {"verdict": effect.verdict(step)}


def _draw(found: Sequence[Effect], metric: str, arms: Sequence[str]) -> Figure:
    from horovod_runner.analysis.plots import look as plots
    from horovod_runner.analysis.plots.forest import Line, Panel, forest

    ordered = sorted(found, key=lambda effect: (arms.index(effect.arm), effect.framework == BOTH))
    finals, changes = [], []
    for effect in ordered:
        whole = effect.framework == BOTH
        colour = plots.INK if whole else plots.colour(effect.framework)
        name = f"{effect.arm}, {'together' if whole else words.framework(effect.framework)}"
        look = (colour, plots.marker(effect.framework), whole)
        finals.append(Line(name, effect.final, *look))
        changes.append(Line(name, effect.change or Interval(0.0, None, None), *look))
    named = metric.replace("_", " ")
    return forest(
        [
            Panel(f"1 − final {named}", "mean, 95 % interval over seeds", finals, differences=False),
            Panel(f"Change against {arms[0]}", "paired by seed, 95 % interval", changes),
        ]
    )
