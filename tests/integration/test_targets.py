"""Steps to target in real runs: where a run stops, what it reports, and the same after a resumption."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from horovod_runner.parity.launches import launch, start
from horovod_runner.results.record import RunResult
from horovod_runner.results.store import RunFolder, Store
from tests.conftest import losses

pytestmark = pytest.mark.usefixtures("real_ranks")

TARGET = 0.25
JOB: dict[str, Any] = {
    "workload": "resnet50",
    "width": 8,
    "zero_init_last_gamma": True,
    "global_batch": 16,
    "threads": 1,
}
JOB |= {"data": {"name": "digits", "image_size": 16}, "optimizer": {"learning_rate": 0.02}, "steps": 42}
JOB |= {"validate_steps": 6, "checkpoint": {"every": 7, "keep": 99}}
WORKERS = {"tensorflow": 1, "torch": 2}  # TensorFlow traces every run anew, on each worker


def _answer(result: RunResult) -> tuple[object, ...]:
    """Return what a resumption must not change."""
    metric = result.val_metric
    assert metric is not None
    reached = (result.target, result.steps_to_target, result.status)
    return (*reached, result.steps, result.epochs, result.validated_steps, metric.name, metric.values, result.val_loss)


def _cut_short(folder: RunFolder, copy: Path, states: int) -> RunFolder:
    """Return a copy of a run that was killed before its result, and before the last so many states were saved."""
    shutil.copytree(folder.path, copy)
    cut = RunFolder(copy)
    cut.result_file.unlink()
    for saved in sorted(cut.checkpoints.glob("step-*.json"), reverse=True)[:states]:
        saved.unlink()
    return cut


@pytest.mark.parametrize("framework", ["tensorflow", "torch"])
def test_a_run_stops_where_one_without_a_stop_reports_the_target(framework: str, results: Path) -> None:
    targets = ({"metric": TARGET, "stop": False}, {"metric": TARGET})
    start(results, [JOB | {"framework": framework, "target": target} for target in targets], WORKERS[framework])
    whole, stopped = sorted(Store(results).finished(), key=lambda folder: -folder.read_result().steps)
    reported, result = whole.read_result(), stopped.read_result()

    assert reported.steps == 42 and reported.val_metric is not None and reported.target == TARGET
    assert reported.validated_steps == tuple(range(6, 43, 6)) and len(reported.val_loss) == 7
    by_step = dict(zip(reported.validated_steps, reported.val_metric.values, strict=True))
    assert reported.steps_to_target == next(step for step, metric in by_step.items() if metric >= TARGET)
    assert 6 < reported.steps_to_target < 42, "the target is no test of where a run stops"

    assert result.status == "completed" and result.steps == result.steps_to_target == reported.steps_to_target
    assert losses(stopped) == losses(whole)[: result.steps]
    assert Path(stopped.checkpoints / f"step-{result.steps:08d}.json").exists(), "the last state is saved as ever"

    # The first has steps to train again; the second had saved its last state, and lacks its result alone.
    resumed = [_cut_short(stopped, results / "cut" / str(states), states) for states in (1, 0)]
    launch(resumed)
    assert [_answer(folder.read_result()) for folder in resumed] == [_answer(result)] * 2
