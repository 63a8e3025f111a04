"""Runs of both frameworks, end to end: the same curves, other precisions, a record that is complete."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.data.digits import digit_splits
from horovod_runner.results.predictions import read_predictions
from horovod_runner.results.store import RunFolder
from tests.conftest import ROOT, Done, bench, losses

FRAMEWORKS = ("tensorflow", "torch")


@pytest.mark.usefixtures("real_ranks")
@pytest.mark.parametrize("workload", ["resnet50", "unet"])
def test_both_frameworks_have_the_same_loss_curve_on_two_workers(workload: str, results: Path) -> None:
    """In float64 nothing but rounding is left between them, over MPI in one and Gloo in the other.

    Ten steps with a rate that grows eightfold; differences of 1e-16 grow a few times a step (see the parity tests),
    so 1e-9 is loose for rounding and tight for anything else.
    """
    options = ["--workers", "2", "--steps", "10", "--set", "precision=float64", "--set", "schedule.warmup_epochs=0.1"]
    options += ["--set", "schedule.scaling=linear_workers", "--set", "validation_statistics=precise"]
    tensorflow = bench("tensorflow", workload, results / "a", *options)
    torch = bench("torch", workload, results / "b", *options, "--set", "allreduce.controller=gloo")
    for done in (tensorflow, torch):
        assert done.code == 0, done.err
        assert done.folder.read_result().status == "completed"
    assert losses(torch.folder) == pytest.approx(losses(tensorflow.folder), rel=1e-9)
    ours, theirs = torch.folder.read_result(), tensorflow.folder.read_result()
    assert ours.val_loss == pytest.approx(theirs.val_loss, rel=1e-7)
    if workload == "resnet50":
        _assert_equal_predictions(tensorflow.folder, torch.folder)
    origin = json.loads(torch.folder.provenance_file.read_text())
    assert origin["launcher"]["controller"] == "gloo"


def _assert_equal_predictions(*folders: RunFolder) -> None:
    """Every validation example once, whichever worker had it, by both frameworks alike."""
    for folder in folders:
        kept, metric = read_predictions(folder.predictions_file), folder.read_result().val_metric
        assert metric is not None and kept.step == 10 and kept.example.tolist() == list(range(360))
        assert kept.target.tolist() == digit_splits()[1][1].tolist()
        assert np.mean(kept.predicted == kept.target) == pytest.approx(metric.values[-1])
    first, second = (read_predictions(folder.predictions_file).predicted for folder in folders)
    assert first.tolist() == second.tolist() and len(set(first.tolist())) > 1


@pytest.fixture(scope="module", params=FRAMEWORKS)
def single(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[float]]:
    """A framework, and its loss curve in float32."""
    done = bench(request.param, "resnet50", tmp_path_factory.mktemp("single"), "--steps", "12")
    assert done.code == 0, done.err
    return request.param, losses(done.folder)


@pytest.mark.parametrize("precision", ["float64", "bfloat16"])
def test_precisions(single: tuple[str, list[float]], precision: str, results: Path) -> None:
    framework, reference = single
    done = bench(framework, "resnet50", results, "--steps", "12", "--set", f"precision={precision}")
    assert done.code == 0, done.err
    curve = losses(done.folder)
    assert all(math.isfinite(loss) for loss in curve)
    # The first loss is that of the same weights and images: bfloat16 keeps 8 bits of each product, float64 all.
    assert curve[0] == pytest.approx(reference[0], rel=2e-2 if precision == "bfloat16" else 1e-5)
    assert curve[0] != reference[0]


@pytest.mark.usefixtures("real_ranks")
def test_without_reduction_workers_are_timed_together(results: Path) -> None:
    """In PyTorch a command of the README does the same."""
    done = bench("tensorflow", "unet", results, "--workers", "2", "--steps", "6", "--set", "strategy=none")
    assert done.code == 0, done.err
    result = done.folder.read_result()
    assert result.workers == 2 and result.steps == 6 and result.images_per_second is not None
    assert len(done.folder.read_steps()[0].worker_seconds) == 2


@pytest.mark.usefixtures("real_ranks")
def test_training_learns_and_the_record_is_complete(results: Path) -> None:
    """A real job on real data: two epochs of digits take the validation loss well below chance (log 10 = 2.30)."""
    done = bench("torch", "resnet50", results, "--epochs", "3", "--workers", "2")
    assert done.code == 0, done.err
    result = done.folder.read_result()
    assert result.val_loss[-1] < 1.2 and result.val_metric is not None and result.val_metric.values[-1] > 0.6
    assert len(result.train_loss) == len(result.val_loss) == result.epochs == 3
    steps = done.folder.read_steps()
    assert [s.step for s in steps] == list(range(1, result.steps + 1)) and result.steps == 3 * (1437 // 16)
    assert all(0 <= s.data_seconds < s.step_seconds for s in steps)
    rate = result.images_per_second
    assert rate is not None and rate.ci95_low is not None and rate.ci95_high is not None
    assert rate.ci95_low < rate.mean < rate.ci95_high
    assert result.data_wait_fraction is not None and result.data_wait_fraction < 0.2
    assert result.peak_memory_bytes is not None and result.peak_memory_bytes > 100e6
    _assert_no_machine_path(done)


def test_a_done_run_is_not_done_again(results: Path) -> None:
    options = ["--steps", "2"]
    first = bench("torch", "resnet50", results, *options)
    before = first.folder.result_file.read_bytes()
    again = bench("torch", "resnet50", results, *options)
    assert again.code == 0 and "done already" in again.out
    assert first.folder.result_file.read_bytes() == before


def _assert_no_machine_path(done: Done) -> None:
    for name in ("config.json", "provenance.json", "result.json"):
        assert str(ROOT) not in (done.folder.path / name).read_text(), name
