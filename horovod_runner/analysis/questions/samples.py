"""Runs as samples: the settings of a study that differ in what a question is about, and their figures by seed."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from statistics import median, median_high
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from benchmarks.objectives.reference import METRICS
from horovod_runner.analysis.load.runs import Run
from horovod_runner.config.strategies import USUAL

if TYPE_CHECKING:
    import pandas

Item = TypeVar("Item")
OF_A_SAMPLE = ("seed", "repeat")
OF_A_BATCH = ("global_batch", "local_batch", "workers", "virtual_workers", "accumulate", "scaling")
TOLD_FIRST = ("arm", "global_batch")  # of settings that go together, those that readers know best
NO_MATTER = ("experiment", "threads", "discard_steps", "record_every")  # what cannot change how a run converges
MOST_LAST = 5  # validations whose median is a run's final figure (Goyal et al. 2017)
LEAST_STEP = 1e-4  # steps between a metric's values below this are no validation example's


class Misses(NamedTuple):
    """How many pairs of runs missed their target: the first alone, the second alone, both."""

    first: int = 0
    second: int = 0
    both: int = 0


NO_MISSES = Misses()


def split(runs: Sequence[Run], subject: Collection[str]) -> Iterator[tuple[dict[str, Any], list[Run]]]:
    """Yield the runs that are equal but for seeds and the settings in `subject`, each with what tells it apart.

    `subject` holds flat names; one that ends in a dot stands for a group of settings.
    """
    free = (*subject, *OF_A_SAMPLE, *NO_MATTER)
    kept = [{key: v for key, v in trained_by(run).items() if not _among(key, free)} for run in runs]
    told = _telling(kept)
    together: dict[str, list[Run]] = defaultdict(list)
    labels = {}
    for run, settings in zip(runs, kept, strict=True):
        whole = json.dumps(settings, sort_keys=True)
        labels[whole] = {key: settings.get(key) for key in told}
        together[whole].append(run)
    for text in sorted(together, key=lambda text: [_order(value) for value in labels[text].values()]):
        yield labels[text], together[text]


def trained_by(run: Run) -> dict[str, Any]:
    """Return a run's settings under flat names, where one worker's strategy is always the same.

    It has nobody to reduce with, so that its compute-only run, done to be timed, is the same training once more.
    """
    alone = run.result.workers == 1 and run.config.reduction.steps_late == 0
    return {**run.settings, "strategy": USUAL} if alone else {**run.settings}


def _telling(kept: Sequence[dict[str, Any]]) -> list[str]:
    """Return the settings that vary, without those that another one determines: a reader needs no more names."""
    keys = {key for settings in kept for key in settings}
    told: list[str] = []
    for key in sorted(keys, key=lambda key: (key not in TOLD_FIRST, key)):
        varies = len({json.dumps(settings.get(key)) for settings in kept}) > 1
        if varies and not any(_determines(kept, known, key) for known in told):
            told.append(key)
    return told


def _determines(kept: Sequence[dict[str, Any]], known: str, key: str) -> bool:
    pairs = {(json.dumps(settings.get(known)), json.dumps(settings.get(key))) for settings in kept}
    return len(pairs) == len({first for first, _ in pairs})


def _order(value: Any) -> tuple[Any, ...]:
    return (0, value, "") if isinstance(value, int | float) else (1, 0, str(value))


def _among(key: str, names: Iterable[str]) -> bool:
    return any(key == name or (name.endswith(".") and key.startswith(name)) for name in names)


def constant_within(runs: Sequence[Run], path: str) -> list[str]:
    """Return the settings that have one value among all runs of any one value of `path`: they go with it."""
    settings = [(run.settings[path], run.settings) for run in runs]
    values = {value for value, _ in settings}
    keys = {key for _, each in settings for key in each}
    return [key for key in keys if len({(value, json.dumps(each.get(key))) for value, each in settings}) == len(values)]


def by_key(items: Iterable[Item], key: Callable[[Item], Any]) -> dict[Any, list[Item]]:
    """Return runs, or other items, by their key, in the order of keys."""
    return dict(sorted(grouped(items, key).items()))


def grouped(items: Iterable[Item], key: Callable[[Item], Any]) -> dict[Any, list[Item]]:
    """Return items by their key, in the order in which keys come."""
    together = defaultdict(list)
    for item in items:
        together[key(item)].append(item)
    return dict(together)


def validations(run: Run) -> Sequence[float]:
    """Return the validation metric over the run; empty where nothing was validated."""
    return run.result.val_metric.values if run.result.val_metric else ()


def diverged(runs: Iterable[Run]) -> int:
    """Count the runs that diverged."""
    return sum(run.result.status == "diverged" for run in runs)


class Final:
    """The final metric of runs of one job: the median of the last validations, fewer in short runs.

    A diverged run counts as the worst value that any of these runs ever validated: chance, or close to it.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        """Take the number of validations and the worst value from these runs."""
        lengths = [len(validations(run)) for run in runs if run.completed] or [0]
        self.last = max(1, min(MOST_LAST, min(lengths) // 4))
        known = [value for run in runs for value in validations(run) if math.isfinite(value)]
        self.worst = min(known, default=0.0)
        self.metric = next((run.result.val_metric.name for run in runs if run.result.val_metric), "metric")

    def __call__(self, run: Run) -> float | None:
        """Return a run's final metric, or None where it completed without validating."""
        if run.result.status == "diverged":
            return self.worst
        values = validations(run)[-self.last :]
        return float(median(values)) if values else None


def final_loss(run: Run) -> float | None:
    """Return the last validation loss; None of a diverged run, whose loss has no bound."""
    return run.result.val_loss[-1] if run.completed and run.result.val_loss else None


def steps_to_target(run: Run) -> float | None:
    """Return the first step at which the run reached its target; None where it never did, or had none."""
    steps = run.result.steps_to_target
    return None if steps is None else float(steps)


def steps_or_miss(run: Run) -> float | None:
    """Return the first step at which the run reached its target, infinite where it missed it; None without one."""
    if run.result.target is None or run.result.status not in ("completed", "diverged"):
        return None
    steps = run.result.steps_to_target
    return math.inf if steps is None else float(steps)


def log_ratios(first: Iterable[Run], second: Iterable[Run]) -> tuple[dict[int, float], Misses]:
    """Return log(first / second) of the steps to target for every seed that both have, and who missed it.

    A miss is infinitely long. A seed that both missed says nothing of their ratio: it is counted, and has none.
    Of repeats the median counts.
    """
    sides = [_median_steps(side) for side in (first, second)]
    pairs = {seed: (sides[0][seed], sides[1][seed]) for seed in sorted(sides[0].keys() & sides[1].keys())}
    missed = [(math.isinf(one), math.isinf(other)) for one, other in pairs.values()]
    ratios = {
        seed: 0.0 if one == other else math.log(one) - math.log(other)
        for seed, (one, other) in pairs.items()
        if not (math.isinf(one) and math.isinf(other))
    }
    return ratios, Misses(missed.count((True, False)), missed.count((False, True)), missed.count((True, True)))


def _median_steps(runs: Iterable[Run]) -> dict[int, float]:
    known = grouped(((run.result.seed, steps_or_miss(run)) for run in runs), lambda pair: pair[0])
    steps = {seed: [value for _, value in pairs if value is not None] for seed, pairs in known.items()}
    return {seed: median_high(values) for seed, values in steps.items() if values}


def by_seed(runs: Iterable[Run], figure: Callable[[Run], float | None]) -> dict[int, float]:
    """Return a figure for each seed, the mean over its repeats; seeds without the figure are left out."""
    known = defaultdict(list)
    for run in runs:
        value = figure(run)
        if value is not None and math.isfinite(value):
            known[run.result.seed].append(value)
    return {seed: math.fsum(values) / len(values) for seed, values in sorted(known.items())}


def pivoted(
    runs: Iterable[Run], figure: Callable[[Run], float | None], **keys: Callable[[Run], Any]
) -> pandas.DataFrame:
    """Return a figure, the mean over repeats, a row a seed and a column a combination of keys; NaN where none is."""
    import pandas

    rows = [(run.result.seed, *(key(run) for key in keys.values()), figure(run)) for run in runs]
    table = pandas.DataFrame(rows, columns=["seed", *keys, "figure"]).astype({"figure": float})
    known = table[table["figure"].abs() < math.inf]
    return known.pivot_table(index="seed", columns=list(keys), values="figure")


def resolution(runs: Iterable[Run]) -> float | None:
    """Return the smallest step between two validated accuracies: one validation example's, once enough were seen.

    None for a metric that is no share of examples, and where fewer than two values were seen.
    """
    known = sorted({round(value, 9) for run in runs if _counts_examples(run) for value in validations(run)})
    steps = [after - before for before, after in pairwise(known) if after - before > 1e-6]
    least = min(steps, default=0.0)
    return least if least > LEAST_STEP else None


def _counts_examples(run: Run) -> bool:
    return run.result.val_metric is not None and run.result.val_metric.name == METRICS["classification"]
