"""How many steps to a target does a batch take, and from where on does more batch not help?

After Shallue et al. 2019 (arXiv:1811.03600): at every batch the learning rate is tuned for itself, with the same trials
and seeds, and the best rate's steps stand for the batch. Against the batch they fall like 1/B (perfect scaling), then
more slowly (diminishing returns), then not at all (maximal data parallelism), which S(B) = S_min (1 + B_crit / B)
describes (McCandlish et al. 2018, arXiv:1812.06162). `batch_limits` has the definitions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions import Answer, by_job
from horovod_runner.analysis.questions.target_sentences import told_of_batches, told_of_fits
from horovod_runner.analysis.questions.target_study import Study, batch_rows, fit_rows, speed_rows, speeds
from horovod_runner.analysis.questions.trials import Arm, arms, studies
from horovod_runner.analysis.report import words

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def answers(runs: Sequence[Run]) -> list[Answer]:
    """Return two answers, the batches and the fits, for every job whose runs have a target and vary the batch."""
    made = []
    for names, members in by_job(runs):
        chosen = {key: (together, arms(together)) for key, together in studies(members).items()}
        chosen = {key: (together, curves) for key, (together, curves) in chosen.items() if curves}
        distinct = _distinct(list(chosen))
        for (together, curves), apart in zip(chosen.values(), distinct, strict=True):
            made += _answers(_study(together, curves, members), [*names, *apart])
    return made


def _distinct(keys: Sequence[str]) -> list[list[str]]:
    """Return the settings that tell each study from the others, as `key value`."""
    settings = [json.loads(key) for key in keys]
    varying = [name for name in settings[0] if len({json.dumps(one.get(name)) for one in settings}) > 1] if keys else []
    return [[f"{name} {one.get(name)}" for name in varying] for one in settings]


def _study(runs: Sequence[Run], curves: Sequence[Arm], members: Sequence[Run]) -> Study:
    metric = next((run.result.val_metric.name for run in runs if run.result.val_metric), "validation metric")
    return Study(runs[0].result.target or 0.0, metric, tuple(curves), speeds(members, runs[0]))


def _answers(study: Study, apart: Sequence[str]) -> list[Answer]:
    stem = "-".join(["targets", *(_file_word(word) for word in apart)])
    of = "".join(f", {words.job(word)}" for word in apart)
    batches, fits = batch_rows(study), fit_rows(study)

    def draw() -> Figure:
        import pandas

        from horovod_runner.analysis.plots import targets as target_plots

        tables = (pandas.DataFrame(rows) for rows in (batches, fits, speed_rows(study)))
        return target_plots.figure(*tables)

    what = f"Steps to a {study.metric} of {study.target:g} against the batch{of}"
    return [
        Answer(stem, what, tuple(told_of_batches(study)), tuple(batches), draw),
        Answer(f"{stem}-fit", f"How far the batch can grow{of}", tuple(told_of_fits(study)), tuple(fits)),
    ]


def _file_word(word: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in word)
