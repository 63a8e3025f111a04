"""How long a run will take, by those that were done: what counts as like it, and what a plan says of it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.data import SOURCES, open_dataset
from horovod_runner.config.schema import RunConfig, decode
from horovod_runner.config.settings import DataConfig
from horovod_runner.errors import UserError
from horovod_runner.matrix.estimate import Experience, Finished, planned_steps, seconds_of
from horovod_runner.results.record import RunResult
from horovod_runner.statistics.throughput import Seconds
from horovod_runner.verbs.matrix import plan
from tests.made_results import add_failure, add_run

SIZE: dict[str, Any] = {"framework": "torch", "width": 8, "local_batch": 8}


def config(**changes: Any) -> RunConfig:
    return decode({**SIZE, "steps": 100, **changes}, "test")


def finished(seconds: float, step: float, *, status: str = "completed", **changes: Any) -> Finished:
    done = config(**changes)
    figures = {name: getattr(done, name) for name in ("framework", "workload", "workers", "scaling", "seed", "repeat")}
    result = RunResult(
        run_id=done.run_id,
        experiment="test",
        status=status,  # type: ignore[arg-type]
        local_batch=done.local_batch or 0,
        global_batch=done.global_batch or 0,
        epochs=done.epochs or 1,
        steps=done.steps or (done.epochs or 1) * 40,
        step_seconds=Seconds(median=step, p95=step, min=step, max=step),
        wall_seconds=seconds,
        **figures,
    )
    return Finished(done, result, seconds)


def test_start_and_steps_of_runs_like_it() -> None:
    done = [finished(30.0, 0.2, seed=seed) for seed in range(3)]  # 10 s that are not steps, and 100 steps
    assert seconds_of(config(seed=7), done) == pytest.approx(30.0)
    assert seconds_of(config(steps=1000, schedule={"warmup_epochs": 2.0}), done) == pytest.approx(210.0)


def shared(run: Finished) -> Finished:
    untimed = {"at_once": 2, "step_seconds": None}
    return Finished(run.config, run.result.model_copy(update=untimed), run.seconds)


def test_runs_at_once_are_judged_by_those_that_were_and_take_their_part_of_the_time() -> None:
    alone, beside = finished(30.0, 0.2), shared(finished(50.0, 0.2))
    experience = Experience([alone, beside], at_once=2)
    assert experience.seconds_of(config(seed=7)) == pytest.approx(50.0)
    assert experience.matrix_seconds_of(config(seed=7)) == pytest.approx(25.0)
    assert experience.matrix_seconds_of(config(seed=7, steps=200)) == pytest.approx(50.0)
    assert Experience([alone, beside]).matrix_seconds_of(config(seed=7)) == pytest.approx(30.0)
    assert Experience([alone], at_once=2).matrix_seconds_of(config(seed=7)) is None, "alone it was faster"
    several = finished(30.0, 0.2, workers=2)
    assert Experience([several], at_once=2).matrix_seconds_of(config(workers=2)) == pytest.approx(30.0)


def test_a_run_with_another_batch_is_scaled_by_its_images_only_where_nothing_nearer_was_done() -> None:
    other = [finished(30.0, 0.2)]
    assert seconds_of(config(local_batch=16), other) == pytest.approx(10.0 + 100 * 0.4)
    nearer = [*other, finished(45.0, 0.35, local_batch=16)]
    assert seconds_of(config(local_batch=16), nearer) == pytest.approx(45.0)


@pytest.mark.parametrize(
    "change",
    [{"framework": "tensorflow"}, {"workers": 2}, {"workload": "vgg16"}, {"width": 16}, {"data": {"image_size": 64}}],
)
def test_nothing_is_said_of_what_is_not_like_them(change: dict[str, Any]) -> None:
    assert seconds_of(config(**change), [finished(30.0, 0.2)]) is None


def test_runs_that_did_not_go_all_the_way_tell_nothing() -> None:
    assert seconds_of(config(), [finished(3.0, 0.2, status="failed"), finished(3.0, 0.2, status="timeout")]) is None


def test_one_odd_run_does_not_move_the_estimate() -> None:
    done = [finished(30.0, 0.2, seed=seed) for seed in range(4)] + [finished(900.0, 5.0, seed=9)]
    assert seconds_of(config(), done) == pytest.approx(30.0)


def test_a_folder_has_as_many_steps_as_a_run_on_it_found() -> None:
    folder = {"steps": None, "data": {"path": "somewhere", "image_size": 32}}
    assert planned_steps(config(epochs=3, **folder)) is None
    assert seconds_of(config(epochs=3, **folder), []) is None
    done = [finished(90.0, 0.5, epochs=2, **folder)]  # 2 epochs of 40 steps, 50 s of something else
    assert seconds_of(config(epochs=3, **folder), done) == pytest.approx(50.0 + 120 * 0.5)


@pytest.mark.parametrize("name", [name for name, source in SOURCES.items() if source.examples is not None])
def test_planned_steps_are_those_of_the_opened_data(name: str) -> None:
    task = SOURCES[name].tasks[0]
    opened = open_dataset(DataConfig(name=name, image_size=32), task, 0)
    assert len(opened.train) == SOURCES[name].examples
    workload = "unet" if task == "segmentation" else "resnet50"
    made = config(workload=workload, data={"name": name, "image_size": 32}, steps=None, epochs=2, workers=3)
    assert planned_steps(made) == 2 * (len(opened.train) // 24)


BASE = {"width": 8, "local_batch": 8, "epochs": 1, "experiment": "question"}
PLAN = """\
description: "[what] does it take?"
base: {width: 8, local_batch: 8, epochs: 1}
axes:
  framework: [torch, tensorflow]
  workers: [1, 2]
  seed: [0, 1, 2]
exclude:
  - {when: {workers: 2, seed: 2}, because: two seeds are enough}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "question.yaml").write_text(PLAN)
    return tmp_path / "question.yaml"


def said(capsys: pytest.CaptureFixture[str], file: Path, results: Path, **settings: Any) -> str:
    assert plan(file, settings, results, smoke=False) == 0
    return capsys.readouterr().out


def add(results: Path, **settings: Any) -> None:
    """Write a run of the plan that is done, in 20 s that were no steps, and its steps."""
    folder = add_run(results, {**BASE, **settings})
    end = folder.result_file.stat().st_mtime
    began = end - 20 - folder.read_result().wall_seconds
    os.utime(folder.config_file, (began, began))


def test_a_plan_says_that_there_is_no_estimate_before_anything_was_done(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, file, tmp_path / "results")
    assert "[what] does it take?" in text and "10 runs, 10 to do" in text
    assert "left out: 2 points: two seeds are enough" in text
    assert "no estimate yet: nothing like these runs was done here" in text
    rows = [line.split() for line in text.splitlines() if line.startswith("resnet50")]
    assert rows[0] == ["resnet50", "torch", "1", "8", "0", "179", "to", "do"]
    assert rows[-1] == ["resnet50", "tensorflow", "2", "8", "1", "89", "to", "do"]


def test_a_plan_counts_what_is_done_and_estimates_the_rest(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    add(results, framework="torch", seed=0)
    add_failure(results, {**BASE, "framework": "torch", "seed": 1}, "failed", "exit code 1")
    text = said(capsys, file, results)
    states = [line.split()[-1] for line in text.splitlines() if line.startswith("resnet50")]
    assert states[:2] == ["done", "failed"] and set(states[2:]) == {"do"}
    assert "10 runs, 9 to do" in text
    # The two other runs of torch on one worker: 20 s each, and 179 steps of about 0.08 s.
    seconds = re.search(r"about (\d+) s for 2 of the runs to do", text)
    assert seconds is not None and 64 < int(seconds[1]) < 74, text
    assert "no estimate for the other 7" in text


def test_runs_of_other_experiments_are_like_these_too(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for framework in ("torch", "tensorflow"):
        for workers in (1, 2):
            add(tmp_path / "results", framework=framework, workers=workers, experiment="another")
    text = said(capsys, file, tmp_path / "results")
    assert "for the 10 runs to do" in text and "no estimate" not in text
    damaged = next((tmp_path / "results" / "another").iterdir())
    (damaged / "result.json").write_text("{")
    assert "about" in said(capsys, file, tmp_path / "results"), "what cannot be read tells nothing, and stops nothing"


def test_a_long_table_is_cut_and_a_mistake_prints_none(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(tmp_path / "results", framework="torch", repeat=0)
    file.write_text(PLAN + "repeats: 200\n")
    text = said(capsys, file, tmp_path / "results")
    assert sum(line.startswith("resnet50") for line in text.splitlines()) == 40
    assert "… 1,960 more; by state, of all:" in text and "1,999 to do" in text and "1 done" in text
    with pytest.raises(UserError, match="seed"):
        plan(file, {"seed": -1}, tmp_path / "results", smoke=False)
    assert capsys.readouterr().out == ""
