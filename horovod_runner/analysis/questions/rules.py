"""Must the learning rate be scaled with the batch? Rules against the rate as it is, paired by seed.

Asked of runs with two rules of scaling or more at the same batches; arms are another question's (see `ablation`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from horovod_runner.analysis.load.groups import bounds
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions import BOTH, Finding, by_job, labelled
from horovod_runner.analysis.questions import samples as of
from horovod_runner.statistics import seeds
from horovod_runner.statistics.interval import Interval

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
    by_setting = of.by_key(runs, lambda run: (run.result.global_batch, rule(run), run.result.framework, _warmup(run)))
    tables = {key: of.by_seed(setting, final) for key, setting in by_setting.items()}
    frameworks = sorted({framework for _, _, framework, _ in tables})
    found = []
    for batch, other in sorted({(batch, name) for batch, name, _, _ in tables if name != base}):
        differences = {
            (framework, warmup): seeds.paired(values, tables.get((batch, base, framework, warmup), {}))
            for (at, name, framework, warmup), values in tables.items()
            if (at, name) == (batch, other)
        }
        known = {place: values for place, values in differences.items() if values}
        for who in (*frameworks, *((BOTH,) if len(frameworks) > 1 else ())):
            chosen = [values for (framework, _), values in known.items() if who in (framework, BOTH)]
            together = list(seeds.mean_of(chosen).values())
            if together:
                of_both = [name for name in frameworks if who in (name, BOTH)]
                found.append(
                    Gain(
                        framework=who,
                        batch=batch,
                        rule=other,
                        gain=seeds.over_seeds(together),
                        at_best=_at_best(
                            [[_by_warmup(tables, batch, name, one) for one in of_both] for name in (other, base)]
                        ),
                        seeds=len(together),
                        warmups=len(chosen),
                    )
                )
    return found


def _by_warmup(
    tables: Mapping[tuple[int, str, str, float], dict[int, float]], batch: int, rule: str, framework: str
) -> dict[float, dict[int, float]]:
    return {key[3]: values for key, values in tables.items() if key[:3] == (batch, rule, framework)}


def _at_best(rules: Sequence[Sequence[Mapping[float, Mapping[int, float]]]]) -> Interval | None:
    """Return the first rule's metric less the second's, each at its best warmup, the mean over frameworks.

    `rules`: of both, the figures of each framework by warmup and seed; what is not common to all is left out.
    """
    each = [table for tables in rules for table in tables]
    warmups = sorted(set.intersection(*(set(table) for table in each)))
    if len(warmups) < 2:
        return None
    shared = sorted(set.intersection(*(set(table[warmup]) for table in each for warmup in warmups)))
    if not shared:
        return None
    values = np.array([[[[t[w][s] for s in shared] for w in warmups] for t in tables] for tables in rules])

    def gain(means: NDArray[np.float64]) -> NDArray[np.float64]:
        best = means.max(axis=-1).mean(axis=-1)
        return np.asarray(best[:, 0] - best[:, 1])

    return seeds.resampled(values, gain)


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
    return Rules(names, rules[0], found, final, of.resolution(runs) or 0.0, lost) if found else None
