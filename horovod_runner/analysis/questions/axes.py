"""What does each value of an axis change? Its values against the first of them, as arms are (see `ablation`).

Asked of every axis of the experiment file with two values to MOST_VALUES, but for those that another question is about.
Where axes cross, each is asked in turn: a seed's metric is averaged over the settings of the others that have all of
its values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from horovod_runner.analysis.load.arms import arm as arm_of
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions import by_job
from horovod_runner.analysis.questions import samples as of
from horovod_runner.analysis.questions.ablation import ARM, Ablation, answer
from horovod_runner.analysis.questions.warmup import FEWEST_WARMUPS
from horovod_runner.results.store import read_manifest

MOST_VALUES = 6
OF_OTHERS = (
    *("framework", "workload", "measure", "noise_scale", "strategy", "allreduce.", "cluster."),
    *("arm", "schedule.scaling", "data.name", "data.path", "data.processes", "data.digests"),
    *of.OF_A_SAMPLE,
    *of.OF_A_BATCH,
    *of.NO_MATTER,
)
"""What other questions ask of, what changes nothing of the training, and what makes its metric another one."""
WARMUP = "schedule.warmup_epochs"


def findings(runs: Sequence[Run]) -> list[Ablation]:
    """Find it for each axis of the experiment file, if it is on record, and each job, of runs that validated."""
    axes = read_manifest(runs[0].folder.parent).get("axes") or {}
    made = []
    for names, members in by_job(runs):
        trained = [run for run in members if arm_of(run) in ("training", "alone")]
        for path, listed in axes.items():
            values = _asked(path, listed, trained)
            settings = list(_settings(trained, path, axes, values))
            if settings:
                made.append(answer(names, settings, [*map(partial(named, path), values)], partial(_name, path), path))
    return [found for found in made if found.effects]


def named(path: str, value: Any) -> str:
    """Return a value of an axis as readers see it: `nesterov true`."""
    return f"{path.rsplit('.', 1)[-1].replace('_', ' ')} {value if isinstance(value, str) else json.dumps(value)}"


def _name(path: str, run: Run) -> str:
    return named(path, run.settings[path])


def _asked(path: str, listed: Sequence[Any], runs: Sequence[Run]) -> list[Any]:
    """Return the values of an axis that is asked of, in the order of the file; none of another axis."""
    tuned = path == "optimizer.learning_rate" and any(run.result.target is not None for run in runs)
    rescued = path == WARMUP and len({run.result.scaling for run in runs}) > 1  # see `converges`
    if path.startswith(OF_OTHERS) or tuned or rescued or not all(path in run.settings for run in runs):
        return []
    there = {json.dumps(run.settings[path]): run.settings[path] for run in runs}
    values = [value for value in there.values() if value in listed]
    known = sorted(values, key=listed.index) + [value for value in there.values() if value not in listed]
    most = FEWEST_WARMUPS - 1 if path == WARMUP else MOST_VALUES
    return known if 2 <= len(known) <= most else []


def _settings(runs: Sequence[Run], path: str, axes: Mapping[str, Any], values: Sequence[Any]) -> Iterator[list[Run]]:
    """Yield the runs of each setting of what else varies that has all values; what a value brings along is its own."""
    others = [axis for axis in (ARM, *axes) if axis not in (path, "framework", *of.OF_A_SAMPLE)]
    cells = of.grouped(runs, lambda run: json.dumps([run.settings.get(axis) for axis in others]))
    for cell in cells.values() if values else ():
        for _, equal in of.split(cell, ("framework", path, *of.constant_within(cell, path))):
            if len({json.dumps(run.settings[path]) for run in equal}) == len(values):
                yield equal
