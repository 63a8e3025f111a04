"""Steps to target in real runs: where a run stops, what it reports, and that a resumption changes neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from horovod_runner.record import RunResult
from horovod_runner.store import RunFolder
from tests.conftest import Done, bench, losses

OPTIONS = ["--image-size", "16", "--steps", "60", "--set", "validate_steps=6", "--set", "target.metric=0.25"]
OPTIONS += ["--set", "optimizer.learning_rate=0.02", "--set", "checkpoint.every=7", "--set", "checkpoint.keep=99"]
WORKERS = {"tensorflow": "1", "torch": "2"}


def _answer(result: RunResult) -> tuple[object, ...]:
    """Return what a resumption must not change."""
    metric = result.val_metric
    assert metric is not None
    reached = (result.target, result.steps_to_target, result.status)
    return (*reached, result.steps, result.epochs, result.validated_steps, metric.name, metric.values, result.val_loss)


def _begun_again(done: Done, framework: str, options: list[str]) -> RunFolder:
    """Give the same command again, as after a kill that took the result."""
    done.folder.result_file.unlink()
    again = bench(framework, "resnet50", done.results, *options)
    assert again.code == 0, again.err
    return again.folder


@pytest.mark.parametrize("framework", ["tensorflow", "torch"])
def test_a_run_stops_where_one_without_a_stop_reports_the_target(framework: str, results: Path) -> None:
    options = [*OPTIONS, "--workers", WORKERS[framework]]
    whole = bench(framework, "resnet50", results / "whole", *options, "--set", "target.stop=false")
    stopped = bench(framework, "resnet50", results / "stopped", *options)
    assert whole.code == stopped.code == 0, whole.err + stopped.err
    reported, result = whole.folder.read_result(), stopped.folder.read_result()

    assert reported.steps == 60 and reported.val_metric is not None and reported.target == 0.25
    assert reported.validated_steps == tuple(range(6, 61, 6)) and len(reported.val_loss) == 10
    by_step = dict(zip(reported.validated_steps, reported.val_metric.values, strict=True))
    assert reported.steps_to_target == next(step for step, metric in by_step.items() if metric >= 0.25)
    assert 6 < reported.steps_to_target < 60, "the target is no test of where a run stops"

    assert result.status == "completed" and result.steps == result.steps_to_target == reported.steps_to_target
    assert losses(stopped.folder) == losses(whole.folder)[: result.steps]
    assert f"0.25 reached after {result.steps} steps" in stopped.out

    saved = sorted((stopped.folder.path / "checkpoints").glob("step-*.json"))
    assert saved[-1].stem == f"step-{result.steps:08d}", "the last state is saved, although it is no multiple of seven"
    saved[-1].unlink()  # what is resumed now has steps to train; below, it has none
    assert _answer(_begun_again(stopped, framework, options).read_result()) == _answer(result)
    if framework == "torch":
        assert _answer(_begun_again(stopped, framework, options).read_result()) == _answer(result)
