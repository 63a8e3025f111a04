"""Must the learning rate be scaled with the batch? Rules against the rate as it is, paired by seed.

Asked of runs with two rules of scaling or more at the same batches; arms are another question's (see `ablation`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from horovod_runner.analysis.load.groups import bounds
from horovod_runner.analysis.load.learning import unlearned
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions import BOTH, Finding, by_job, labelled
from horovod_runner.analysis.questions import samples as of
from horovod_runner.statistics import seeds
from horovod_runner.statistics.interval import Interval

if TYPE_CHECKING:
    import pandas

SUBJECT = ("framework", "schedule.warmup_epochs", "schedule.scaling", *of.OF_A_BATCH)
UNSCALED = "none"


@dataclass(frozen=True)
class Gain:
    """What a rule gains over the base rule at a batch: the mean over warmups (and frameworks), paired by seed.

    `at_best` is what it gains where each rule has the warmup that suits it best, chosen anew in every draw of a
    bootstrap over seeds: a rule that needs warmup is not blamed for the runs that had none. None of one warmup alone.
    """

    framework: str
    batch: int
    rule: str
    gain: Interval
    at_best: Interval | None
    seeds: int
    warmups: int


@dataclass(frozen=True)
class Rules(Finding):
    """The gains of every rule; `step`: a difference below it, one validation example's, is none."""

    question: ClassVar[str] = "learning-rate"

    base: str
    gains: Sequence[Gain]
    final: of.Final
    step: float
    lost: Mapping[str, tuple[int, int]]  # by rule, how many runs diverged, of how many

    @property
    def whole(self) -> list[Gain]:
        """The gains of all frameworks together, or of the only one."""
        return [gain for gain in self.gains if gain.framework == BOTH] or list(self.gains)

    def verdict(self, gain: Interval) -> seeds.Verdict:
        """Say what may be claimed of a gain."""
        return seeds.verdict(gain, self.step)

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [self._row(gain) for gain in self.gains]

    def _row(self, gain: Gain) -> dict[str, Any]:
        row: dict[str, Any] = {"framework": gain.framework, "batch": gain.batch, "rule": gain.rule, "seeds": gain.seeds}
        row |= bounds("gain", gain.gain) | {"verdict": self.verdict(gain.gain)}
        if gain.at_best is None:
            return row
        return row | bounds("gain_at_best_warmups", gain.at_best) | {"verdict_at_best": self.verdict(gain.at_best)}


def findings(runs: Sequence[Run]) -> list[Rules]:
    """Find it for each job whose runs have two rules or more; none otherwise."""
    return [
        found
        for names, members in by_job(runs)
        for label, equal in of.split([run for run in members if run.config.arm is None], SUBJECT)
        if (found := _rules(labelled(names, label), equal))
    ]


def gains(runs: Sequence[Run], final: of.Final, base: str) -> list[Gain]:
    """Return what each rule gains over the base rule by batch and framework, and over all frameworks together."""
    frameworks = sorted({run.result.framework for run in runs})
    found = []
    for batch, of_batch in of.by_key(runs, lambda run: run.result.global_batch).items():
        metric = of.pivoted(of_batch, final, rule=rule, framework=lambda run: run.result.framework, warmup=_warmup)
        rules = sorted(set(metric.columns.get_level_values("rule")))
        for name in rules if base in rules else ():
            if name == base:
                continue
            differences = (metric[name] - metric[base]).dropna(axis=1, how="all")
            for who in (*frameworks, *((BOTH,) if len(frameworks) > 1 else ())):
                members = [framework for framework in frameworks if who in (framework, BOTH)]
                chosen = differences.loc[:, differences.columns.isin(members, level="framework")]
                together = chosen.dropna().mean(axis=1) if chosen.shape[1] else ()
                if len(together):
                    gain, at_best = seeds.over_seeds(together), _at_best(metric, (name, base), members)
                    found.append(Gain(who, batch, name, gain, at_best, len(together), chosen.shape[1]))
    return found


def _at_best(metric: pandas.DataFrame, rules: tuple[str, str], frameworks: Sequence[str]) -> Interval | None:
    """Return the first rule's metric less the second's, each at its best warmup, the mean over frameworks.

    What is not common to all is left out.
    """
    if not all((rule, framework) in metric for rule in rules for framework in frameworks):
        return None
    each = [[metric[rule][framework] for framework in frameworks] for rule in rules]
    warmups = sorted(set.intersection(*(set(table) for tables in each for table in tables)))
    values = np.array([[table[warmups].to_numpy().T for table in tables] for tables in each])
    shared = np.isfinite(values).all(axis=(0, 1, 2))
    if len(warmups) < 2 or not shared.any():
        return None

    def gain(means: NDArray[np.float64]) -> NDArray[np.float64]:
        best = means.max(axis=-1).mean(axis=-1)
        return np.asarray(best[:, 0] - best[:, 1])

    return seeds.resampled(values[..., shared], gain)


def rule(run: Run) -> str:
    """Return a run's rule of scaling the learning rate."""
    return run.config.schedule.scaling


def _warmup(run: Run) -> float:
    return run.config.schedule.warmup_epochs


def _rules(names: tuple[str, ...], runs: Sequence[Run]) -> Rules | None:
    rules = sorted({rule(run) for run in runs}, key=lambda name: (name != UNSCALED, name))
    final = of.Final(runs)
    found = gains(runs, final, rules[0]) if len(rules) > 1 else []
    lost = {name: (of.diverged(setting), len(setting)) for name, setting in of.by_key(runs, rule).items()}
    if not found:
        return None
    return Rules(names, rules[0], found, final, of.resolution(runs) or 0.0, lost, unlearned=unlearned(runs))
