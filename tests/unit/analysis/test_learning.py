"""Runs that have not learned are told wherever something is said of them, and runs that have are not bothered."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from benchmarks.objectives.trivial import Trivial
from horovod_runner.analysis.load import tables
from horovod_runner.analysis.load.groups import cell_rows, groups
from horovod_runner.analysis.load.learning import unlearned
from horovod_runner.analysis.load.pack import pack, read_packed
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions import ablation, across, converges, frameworks, minimum_sufficient, rules, warmup
from horovod_runner.analysis.report import text_tables
from horovod_runner.analysis.report.answers import answered
from horovod_runner.analysis.report.compare import compare
from horovod_runner.analysis.report.write import write_report
from horovod_runner.matrix.progress import outcome
from horovod_runner.results.record import Metric, RunResult, result_from_json
from horovod_runner.results.store import MANIFEST, RunFolder, write_json
from horovod_runner.results.summary import summarise
from horovod_runner.training.recorder import Recorder, WorkerStep
from horovod_runner.training.timing import StepTimes
from horovod_runner.training.validation import Validation
from horovod_runner.training.worker import closing_line
from tests.made_results import add_run
from tests.simulated import crossed

SENTENCE = "learned: they end no better than the trivial predictor, which looks at no image"
UNET = {"workload": "unet", "framework": "torch"}
AT_TRIVIAL = Metric(name="mean_iou", values=(0.01, 0.0716))
LOST = {"val_metric": AT_TRIVIAL, "trivial_metric": 0.0716, "learned_above": 0.0766}
AXES = {
    "framework": ["tensorflow", "torch"],
    "local_batch": [16, 32],
    "schedule.warmup_epochs": [0, 1, 2],
    "schedule.scaling": ["none", "linear_samples"],
    "seed": [0, 1, 2],
}


def study(final: float, folder: Path = Path("results/study"), **axes: Any) -> list[Run]:
    """Return runs that end here but for a scatter of 0.0005, where the trivial predictor scores 0.1."""
    noise = np.random.default_rng(0)
    runs = crossed({}, {**AXES, **axes}, lambda point: final + 0.0005 * float(noise.normal()))
    above = {"trivial_metric": 0.1, "learned_above": 0.13}
    return [Run(folder / r.folder.name, r.config, r.result.model_copy(update=above), {**r.provenance}) for r in runs]


def with_arms(runs: list[Run]) -> list[Run]:
    """Name the rules of the learning rate as arms."""
    names = {"none": "base", "linear_samples": "scaled"}
    return [
        replace(run, config=run.config.model_copy(update={"arm": names[run.config.schedule.scaling]})) for run in runs
    ]


def on_workers(final: float) -> list[Run]:
    """Return runs of weak and strong scaling on one worker and two."""
    ways: list[dict[str, Any]] = [{"scaling": "weak", "local_batch": 8}, {"scaling": "strong", "global_batch": 16}]
    made = [crossed(base, {"workers": [1, 2], "seed": [0, 1, 2]}, lambda point: final) for base in ways]
    above = {"trivial_metric": 0.1, "learned_above": 0.13}
    return [replace(run, result=run.result.model_copy(update=above)) for runs in made for run in runs]


@pytest.mark.parametrize("question", [ablation, frameworks, minimum_sufficient, rules, warmup, converges, across])
def test_every_verdict_on_what_runs_end_with_says_first_that_they_have_not_learned(question: Any) -> None:
    def asked(final: float) -> Any:
        if question is across:
            return [study(final, Path("results/one")), study(final, Path("results/two"))]
        if question is converges:
            return on_workers(final)
        return with_arms(study(final)) if question is ablation else study(final)

    lost, learned = answered(question, asked(0.1)), answered(question, asked(0.5))
    assert lost and len(lost) == len(learned)
    for one, other in zip(lost, learned, strict=True):
        count = one.finding.unlearned.of
        assert count > 0 and one.sentences[0].startswith(f"None of the {count} runs has {SENTENCE} (top1 0.1000)")
        assert SENTENCE not in " ".join(other.sentences) and other.finding.unlearned.runs == 0
        columns = [row["not_learned"] for row in one.rows if "not_learned" in row]
        assert all(columns) and not any(row.get("not_learned") for row in other.rows)
        assert bool(columns) == (question not in (minimum_sufficient, rules))


def test_equivalence_is_not_announced_without_the_sentence(tmp_path: Path) -> None:
    write_json(
        tmp_path / MANIFEST, {"schema": 1, "stated": "2026-01-01T00:00:00+00:00", "margins": {"val_metric": 0.02}}
    )
    (answer,) = answered(frameworks, study(0.1, tmp_path))
    told = " ".join(answer.sentences)
    assert "equivalent within the stated margin" in told and told.index(SENTENCE) < told.index("equivalent within")


def test_those_that_have_not_learned_are_counted_among_the_others() -> None:
    mixed = study(0.1, local_batch=[16]) + study(0.5, local_batch=[32])
    found = unlearned(mixed)
    assert (found.runs, found.of) == (36, 72) and found.scores == {"top1": (0.1, 0.1)}
    (answer,) = answered(warmup, mixed)
    assert answer.sentences[0].startswith("36 of 72 runs have not learned")
    assert {row["batch"]: row["not_learned"] for row in answer.rows} == {16: 3, 32: 0}


def test_results_of_before_are_read_and_nothing_is_said_of_them(tmp_path: Path) -> None:
    folder = add_run(tmp_path, UNET)
    plain = json.loads(folder.result_file.read_text())
    del plain["trivial_metric"], plain["learned_above"]
    folder.result_file.write_text(json.dumps(plain))
    (run,) = tables.read(tmp_path)
    assert run.result.learned is None and run.result.trivial_metric is None and unlearned([run]).of == 0
    assert cell_rows(groups([run]))[0]["not_learned"] is None
    page = write_report(tmp_path, console=Console(file=(said := io.StringIO()))).read_text()
    assert "not learned" not in said.getvalue() + page


@pytest.mark.parametrize(
    ("last", "learned"), [(0.0716, False), (0.0766, False), (0.0767, True), (float("nan"), False), (0.01, False)]
)
def test_a_run_has_learned_if_its_last_metric_lies_above(last: float, learned: bool, tmp_path: Path) -> None:
    metric = Metric(name="mean_iou", values=(0.5, last))  # once it was better: what it ends with counts
    result = add_run(tmp_path, UNET, **LOST | {"val_metric": metric}).read_result()
    assert result.learned is learned
    assert result.model_copy(update={"status": "diverged"}).learned is None, "which is worse, and said as it is"


def test_tables_and_report_say_it(tmp_path: Path) -> None:
    for seed, changes in ((0, LOST), (1, LOST), (2, LOST | {"learned_above": 0.05})):
        add_run(tmp_path, UNET | {"seed": seed}, **changes)
    add_run(tmp_path, UNET | {"workers": 2}, **LOST)
    (group,) = groups(tables.read(tmp_path))
    assert [row["status"] for row in text_tables.cell_rows(group)] == [
        "3 completed\n2 not learned",
        "completed\nnot learned",
    ]
    assert [(row["trivial_metric"], row["not_learned"]) for row in cell_rows([group])] == [(0.0716, 2), (0.0716, 1)]
    page = write_report(tmp_path, console=Console(file=(said := io.StringIO()), width=200)).read_text()
    for text in (said.getvalue(), page):
        assert "3 of 4 runs have not learned" in " ".join(text.split())
    first = " ".join(page.split("<details>")[0].split())
    assert "3 of 4 runs have not learned" in first, "also where all else is folded"


def test_it_is_kept_by_pack(tmp_path: Path) -> None:
    add_run(tmp_path, UNET, **LOST)
    pack(tmp_path / "bench")
    (run,) = read_packed(tmp_path / "bench")
    assert run.result.learned is False and run.row["trivial_metric"] == 0.0716
    table = tables.runs(tmp_path, packed=True)
    assert table["learned"].tolist() == [False] and table["learned_above"].tolist() == [0.0766]


def test_sets_that_are_the_same_because_neither_learned_are_told(tmp_path: Path) -> None:
    for side in ("a", "b"):
        for seed in range(3):
            add_run(tmp_path / side, UNET | {"seed": seed}, **LOST)
    compare(tmp_path / "a", tmp_path / "b", console=Console(file=(said := io.StringIO()), width=200))
    told = " ".join(said.getvalue().split())
    assert "identical" in told and f"None of the 6 runs has {SENTENCE}" in told


def test_the_run_itself_says_it_last(tmp_path: Path) -> None:
    folder = add_run(tmp_path, UNET, **LOST)
    lost, learned = folder.read_result(), folder.read_result().model_copy(update={"learned_above": 0.05})
    line = closing_line(lost, folder)
    assert ", has not learned (mean_iou 0.0716, the trivial predictor 0.0716), " in line
    assert line.endswith("result.json") and "has not learned" in outcome(lost)
    assert "learned" not in closing_line(learned, folder) + outcome(learned)


def test_the_last_validation_brings_it_into_the_result_also_through_a_resumption(tmp_path: Path) -> None:
    folder: RunFolder = add_run(tmp_path, UNET)
    folder.steps_file.unlink()
    recorder = Recorder(lambda own: own[None], folder.append_steps, [], record_every=1)
    for number in (1, 2):
        recorder.add(WorkerStep(number, 1, 0.1, loss=1.0, times=StepTimes(0.5, 0.1)))
    recorder.validated(Validation(0.9, 0.0716, trivial=Trivial(0.0716, 0.0766)))
    recorder.flush()
    assert '"trivial_metric"' not in folder.steps_file.read_text().splitlines()[0]
    kept = folder.rewind_steps(2)
    result: RunResult = summarise(folder.read_config(), "completed", steps=kept, metric="mean_iou")
    assert (result.trivial_metric, result.learned_above, result.learned) == (0.0716, 0.0766, False)
    assert result_from_json(result.to_json(), "here") == result
