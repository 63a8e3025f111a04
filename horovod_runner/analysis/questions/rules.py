"""Must the learning rate be scaled with the batch? Rules against the rate as it is, paired by seed.

Asked of runs with two rules of scaling or more at the same batches; arms are another question's (see `ablation`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from horovod_runner.analysis.load.groups import bounds
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions import Answer, by_job
from horovod_runner.analysis.questions import cells as of
from horovod_runner.analysis.report import words
from horovod_runner.statistics import seeds
from horovod_runner.statistics.interval import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUBJECT = ("framework", "schedule.warmup_epochs", "schedule.scaling", *of.OF_A_BATCH)
UNSCALED = "none"
BOTH = "both"


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


def answers(runs: Sequence[Run]) -> list[Answer]:
    """Answer it for each job whose runs have two rules or more; none otherwise."""
    return [
        answer
        for names, members in by_job(runs)
        for label, equal in of.split([run for run in members if run.config.arm is None], SUBJECT)
        if (answer := _answer([*names, *(f"{key} {value}" for key, value in label.items())], equal))
    ]


def gains(runs: Sequence[Run], final: of.Final, base: str) -> list[Gain]:
    """Return what each rule gains over the base rule by batch and framework, and over all frameworks together."""
    cells = of.cells(runs, lambda run: (run.result.global_batch, rule(run), run.result.framework, _warmup(run)))
    tables = {key: of.by_seed(cell, final) for key, cell in cells.items()}
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


def _answer(names: Sequence[str], runs: Sequence[Run]) -> Answer | None:
    rules = sorted({rule(run) for run in runs}, key=lambda name: (name != UNSCALED, name))
    final, step = of.Final(runs), of.resolution(runs) or 0.0
    found = gains(runs, final, rules[0]) if len(rules) > 1 else []
    if not found:
        return None
    lost = of.cells(runs, rule)
    failed = ", ".join(f"{of.diverged(cell)} of {len(cell)} ({words.rule(name)})" for name, cell in lost.items())
    return Answer(
        name="-".join(("learning-rate", *map(words.file_part, names))),
        title=", ".join(("Must the learning rate be scaled with the batch?", *map(words.job, names))),
        sentences=(*_told(found, rules[0], step), f"Runs that diverged: {failed}. {final.told}"),
        rows=tuple(_row(gain, step) for gain in found),
        draw=partial(_draw, found, rules[0], final.metric),
    )


def _told(found: Sequence[Gain], base: str, step: float) -> Iterator[str]:
    """Yield a sentence a rule and batch: of all frameworks together, or of the only one."""
    whole = [gain for gain in found if gain.framework == BOTH] or found
    for gain in whole:
        start = f"Batch {gain.batch:,}, {words.rule(gain.rule)} less {words.rule(base)}: {words.signed(gain.gain)}"
        over = f"{gain.seeds} seeds, over {words.count(gain.warmups, 'combination')} of framework and warmup"
        yield f"{start} in the final metric ({over}): {_verdict(gain.gain, step)}."
        if gain.at_best is not None:
            yield (
                f"Batch {gain.batch:,}, each rule with the warmup that suits it best: {words.signed(gain.at_best)}"
                f" (bootstrap over {gain.seeds} seeds, warmups chosen anew in each draw):"
                f" {_verdict(gain.at_best, step)}."
            )


def _verdict(gain: Interval, step: float) -> str:
    if not seeds.apart(gain, step):
        return "no difference is shown"
    return "better" if gain.mean > 0 else "worse"


def _row(gain: Gain, step: float) -> dict[str, Any]:
    row: dict[str, Any] = {"framework": gain.framework, "batch": gain.batch, "rule": gain.rule, "seeds": gain.seeds}
    row |= bounds("gain", gain.gain) | {"verdict": _verdict(gain.gain, step)}
    if gain.at_best is None:
        return row
    return row | bounds("gain_at_best_warmups", gain.at_best) | {"verdict_at_best": _verdict(gain.at_best, step)}


def _draw(found: Sequence[Gain], base: str, metric: str) -> Figure:
    from horovod_runner.analysis.plots import look as plots
    from horovod_runner.analysis.plots.forest import Line, Panel, forest

    def _lines(values: Sequence[Interval]) -> list[Line]:
        return [
            Line(
                f"batch {gain.batch:,}, {plots.rule_name(gain.rule)}, {_who(gain.framework)}",
                value,
                plots.INK if gain.framework == BOTH else plots.colour(gain.framework),
                plots.marker(gain.framework),
                gain.framework == BOTH,
            )
            for gain, value in zip(found, values, strict=True)
        ]

    title = f"Final {metric.replace('_', ' ')} against {plots.rule_name(base)}"
    panels = [Panel(title, "difference paired by seed, 95 % interval", _lines([gain.gain for gain in found]))]
    at_best = [gain.at_best for gain in found if gain.at_best is not None]
    if len(at_best) == len(found):
        panels.append(Panel("Each at its best warmup", "bootstrap over seeds, 95 % interval", _lines(at_best)))
    return forest(panels)


def _who(framework: str) -> str:
    return "together" if framework == BOTH else words.framework(framework)
