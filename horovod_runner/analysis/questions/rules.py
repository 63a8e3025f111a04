"""Must the learning rate be scaled with the batch? Rules against the rate as it is, paired by seed.

Asked of runs with two rules of scaling or more at the same batches; arms are another question's (see `ablation`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from horovod_runner.analysis import seeds, words
from horovod_runner.analysis.questions import Answer, by_job
from horovod_runner.analysis.questions import cells as of
from horovod_runner.analysis.runs import Run
from horovod_runner.analysis.stats import Interval
from horovod_runner.analysis.summary import bounds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUBJECT = ("framework", "schedule.warmup_epochs", "schedule.scaling", *of.OF_A_BATCH)
UNSCALED = "none"
BOTH = "both"


@dataclass(frozen=True)
class Gain:
    """What a rule gains over the base rule at a batch: the mean over warmups (and frameworks), paired by seed."""

    framework: str
    batch: int
    rule: str
    gain: Interval
    seeds: int
    warmups: int


def answers(runs: Sequence[Run]) -> list[Answer]:
    """Answer it for each job whose runs have two rules or more; none otherwise."""
    return [
        answer
        for names, members in by_job(runs)
        for label, equal in of.split([run for run in members if of.setting(run, "arm") is None], SUBJECT)
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
            (framework, warmup): _paired(values, tables.get((batch, base, framework, warmup), {}))
            for (at, name, framework, warmup), values in tables.items()
            if (at, name) == (batch, other)
        }
        known = {place: values for place, values in differences.items() if values}
        for who in (*frameworks, *((BOTH,) if len(frameworks) > 1 else ())):
            chosen = [values for (framework, _), values in known.items() if who in (framework, BOTH)]
            together = list(seeds.mean_of(chosen).values())
            if together:
                found.append(Gain(who, batch, other, seeds.over_seeds(together), len(together), len(chosen)))
    return found


def rule(run: Run) -> str:
    """Return a run's rule of scaling the learning rate."""
    return str(of.setting(run, "schedule.scaling"))


def _warmup(run: Run) -> float:
    return float(of.setting(run, "schedule.warmup_epochs") or 0)


def _paired(first: dict[int, float], second: dict[int, float]) -> dict[int, float]:
    return {seed: first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())}


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
        yield f"{start} in the final metric ({over}): {_verdict(gain, step)}."


def _verdict(gain: Gain, step: float) -> str:
    if not seeds.apart(gain.gain, step):
        return "no difference is shown"
    return "better" if gain.gain.mean > 0 else "worse"


def _row(gain: Gain, step: float) -> dict[str, Any]:
    row: dict[str, Any] = {"framework": gain.framework, "batch": gain.batch, "rule": gain.rule, "seeds": gain.seeds}
    return row | bounds("gain", gain.gain) | {"verdict": _verdict(gain, step)}


def _draw(found: Sequence[Gain], base: str, metric: str) -> Figure:
    from horovod_runner.analysis import plots
    from horovod_runner.analysis.questions.forest import Line, Panel, forest

    lines = [
        Line(
            f"batch {gain.batch:,}, {plots.rule_name(gain.rule)}, {_who(gain.framework)}",
            gain.gain,
            plots.INK if gain.framework == BOTH else plots.colour(gain.framework),
            plots.marker(gain.framework),
            gain.framework == BOTH,
        )
        for gain in found
    ]
    title = f"Final {metric.replace('_', ' ')} against {plots.rule_name(base)}"
    return forest([Panel(title, "difference paired by seed, 95 % interval", lines)])


def _who(framework: str) -> str:
    return "together" if framework == BOTH else words.framework(framework)
