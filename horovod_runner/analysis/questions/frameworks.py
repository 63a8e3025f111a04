"""Does the framework matter? Differences between two frameworks, paired by seed, and whether they are within a margin.

Asked of runs of two frameworks with three seeds or more in common. The margin is what the experiment file says under
`margins`, which `run` writes down before the first run begins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from horovod_runner.analysis.load.arms import arm
from horovod_runner.analysis.load.groups import bounds
from horovod_runner.analysis.load.learning import not_learned, unlearned
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions import Finding, by_job, short_settings
from horovod_runner.analysis.questions import samples as of
from horovod_runner.analysis.questions.target_study import finite
from horovod_runner.results.store import read_manifest
from horovod_runner.statistics import seeds, signed_rank
from horovod_runner.statistics.equivalence import Equivalence, equivalence
from horovod_runner.statistics.interval import FEWEST_SAMPLES, Interval, exponential

RATIO = "steps_to_target_ratio"
"""The one figure that is compared as a ratio; its differences are logarithms, and infinite where one side missed."""
FIGURES = ("val_metric", "val_loss", "steps_to_target", RATIO)
Figures = dict[str, Callable[[Run], float | None]]


@dataclass(frozen=True)
class Setting:
    """One setting: the differences by figure and seed, first framework less second, and how many runs were lost."""

    label: Mapping[str, Any]
    differences: Mapping[str, Mapping[int, float]]
    diverged: tuple[int, int]
    missed: of.Misses = of.NO_MISSES
    not_learned: int | None = None


@dataclass(frozen=True)
class Pooled:
    """The mean over settings of a figure's differences, a seed being one sample, and how these settings stand alone.

    Ratios have a median in place of the mean, by signed ranks, in which a miss of the target counts as infinitely long.
    Of other figures, settings in which a seed lacks the figure are left out and counted: a mean over other settings for
    each seed would compare other things, and one such setting would cost all others a seed.
    """

    figure: str
    mean: Interval
    seeds: int
    settings: tuple[float, ...]  # the mean difference of each
    left_out: int
    apart: int  # settings whose own interval leaves 0 out
    within: Equivalence | None  # the test at the margin that was stated; of a ratio, of its logarithm
    settings_within: int
    missed: of.Misses = of.NO_MISSES

    @property
    def null(self) -> float:
        """What the figure is where the frameworks do not differ."""
        return 1.0 if self.figure == RATIO else 0.0


@dataclass(frozen=True)
class FrameworkComparison(Finding):
    """A job's runs in two frameworks: its settings, how its final metric is taken, and what was stated beforehand."""

    question: ClassVar[str] = "frameworks"

    runs: Sequence[Run]
    frameworks: tuple[str, str]
    settings: Sequence[Setting]
    final: of.Final
    manifest: Mapping[str, Any]

    @property
    def margins(self) -> Mapping[str, float]:
        """The margins that the experiment file states, by figure."""
        return self.manifest.get("margins") or {}

    @property
    def stated_first(self) -> bool:
        """Whether it is on record that the margins were written down before the first of these runs began."""
        started = min(
            (str(run.provenance["started"]) for run in self.runs if run.provenance.get("started")), default=""
        )
        stated = str(self.manifest.get("stated", ""))
        amended = any("margins" in one["was"] for one in self.amendments)
        return bool(self.margins and started and stated) and stated[:19] <= started[:19] and not amended

    @property
    def amendments(self) -> Sequence[Mapping[str, Any]]:
        """What of the experiment file was changed after its first run: when (`date`), and what it `was`."""
        return self.manifest.get("amendments") or ()

    @cached_property
    def pooled(self) -> list[Pooled]:
        """What the settings say together, of each figure that they have."""
        every = (pool(self.settings, figure, self.margins.get(figure)) for figure in FIGURES)
        return [one for one in every if one is not None]

    def step(self, figure: str) -> float | None:
        """Return what a figure resolves: one validation example's share of an accuracy; None where nothing says."""
        return of.resolution(self.runs) if figure == "val_metric" else None

    @property
    def untested(self) -> list[str]:
        """The figures with a margin that these settings cannot be held to."""
        return sorted(self.margins.keys() - {one.figure for one in self.pooled})

    @property
    def diverged(self) -> list[int]:
        """How many runs of each framework diverged."""
        return [sum(setting.diverged[side] for setting in self.settings) for side in (0, 1)]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [self._row(setting) for setting in self.settings]

    def _row(self, setting: Setting) -> dict[str, Any]:
        row: dict[str, Any] = {"settings": short_settings(setting.label)}
        row |= {"seeds": len(setting.differences["val_metric"]), "diverged": "/".join(map(str, setting.diverged))}
        row |= self.unlearned.column(setting.not_learned)
        for figure in FIGURES:
            values = list(setting.differences.get(figure, {}).values())
            name = figure if figure == RATIO else f"{figure}_difference"
            row |= finite(bounds(name, summary(figure, values) if values else None))
            margin = self.margins.get(figure)
            if margin is not None:
                row |= {f"{figure}_equivalence_p": within(figure, values, margin).p if values else None}
        return row


def summary(figure: str, differences: Sequence[float]) -> Interval:
    """Return the mean difference over seeds, or of logarithms of ratios the median ratio."""
    if figure != RATIO:
        return seeds.over_seeds(differences)
    return exponential(signed_rank.median(differences))


def within(figure: str, differences: Sequence[float], margin: float) -> Equivalence:
    """Test that a figure's difference over seeds lies within the margin, a ratio's between 1 / margin and margin."""
    if figure != RATIO:
        return equivalence(differences, margin)
    return signed_rank.equivalence(differences, math.log(margin))


def findings(runs: Sequence[Run]) -> Iterator[FrameworkComparison]:
    """Yield every job that has a setting of two frameworks with three seeds in common."""
    for names, members in by_job(runs):
        trained = [run for run in members if arm(run) in ("training", "alone")]
        frameworks = sorted({run.result.framework for run in trained})
        if len(frameworks) != 2:
            continue
        both, final = (frameworks[0], frameworks[1]), of.Final(trained)
        manifest = read_manifest(trained[0].folder.parent)
        figures: Figures = {"val_metric": final, "val_loss": of.final_loss}
        if "steps_to_target" in (manifest.get("margins") or {}):  # in steps, as earlier files have it
            figures["steps_to_target"] = of.steps_to_target
        if settings := list(compare(trained, both, figures)):
            yield FrameworkComparison(names, trained, both, settings, final, manifest, unlearned=unlearned(trained))


def compare(runs: Sequence[Run], of_both: tuple[str, str], figures: Figures) -> Iterator[Setting]:
    """Yield every setting that has three seeds or more of both frameworks, with its differences."""
    for label, equal in of.split(runs, ("framework",)):
        both = [[run for run in equal if run.result.framework == name] for name in of_both]
        found = {}
        for name, figure in figures.items():
            differences = seeds.paired(*(of.by_seed(side, figure) for side in both))
            if len(differences) >= FEWEST_SAMPLES:
                found[name] = differences
        ratios, missed = of.log_ratios(*both)
        if len(ratios) >= FEWEST_SAMPLES:
            found[RATIO] = ratios
        if "val_metric" in found:
            yield Setting(label, found, (of.diverged(both[0]), of.diverged(both[1])), missed, not_learned(equal))


def pool(settings: Sequence[Setting], figure: str, margin: float | None) -> Pooled | None:
    """Return what settings say of a figure together; None where none has it for every seed of any of them."""
    seen = sorted({seed for setting in settings for seed in setting.differences["val_metric"]})
    tables = [setting.differences.get(figure, {}) for setting in settings]
    if figure == RATIO:
        whole = [list(table.values()) for table in tables if table]
        by_seed = ([table[seed] for table in tables if seed in table] for seed in seen)
        together = [middle(ratios) for ratios in by_seed if ratios]
    else:
        whole = [[table[seed] for seed in seen] for table in tables if table.keys() >= set(seen)]
        together = np.mean(whole, axis=0).tolist() if whole else []
    if not whole:
        return None
    alone = [summary(figure, values) for values in whole]
    null = 1.0 if figure == RATIO else 0.0
    return Pooled(
        figure=figure,
        mean=summary(figure, together),
        seeds=len(together),
        settings=tuple(one.mean for one in alone),
        left_out=len(settings) - len(whole),
        apart=sum(one.leaves_out(null) for one in alone),
        within=None if margin is None else within(figure, together, margin),
        settings_within=0 if margin is None else sum(within(figure, values, margin).shown for values in whole),
        missed=of.Misses(*np.sum([setting.missed for setting in settings], axis=0).tolist()),
    )


def middle(values: Sequence[float]) -> float:
    """Return the median of values of which some may be infinite; halfway between opposite infinities lies 0."""
    ordered = sorted(values)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return low if low == high else 0.0 if low == -high else (low + high) / 2
