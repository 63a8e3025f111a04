"""What a study says of the gradient noise scale: from runs whose |G|^2 and tr(Sigma) are known at every step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from horovod_runner.analysis.load.tables import read
from horovod_runner.analysis.questions import noise
from horovod_runner.analysis.report.answers import answered
from horovod_runner.config.schema import decode
from horovod_runner.results.record import StepRecord
from horovod_runner.results.store import Store, write_json
from horovod_runner.results.summary import summarise

STEPS, EPOCHS = 60, 3
SHARD_BATCH = 4


def add(root: Path, scale: Callable[[int], float], seed: int = 0, status: str = "completed", **changes: Any) -> None:
    """Write a run with this B_simple at each step: |G|^2 is 1, and every figure scatters by a hundredth."""
    raw = {"workload": "unet", "framework": "torch", "local_batch": SHARD_BATCH, "virtual_workers": 4, "seed": seed}
    config = decode({**raw, "epochs": EPOCHS, "noise_scale": True, **changes}, "made")
    generator = np.random.default_rng([seed, config.global_batch or 0])
    steps = []
    for number in range(1, STEPS + 1):
        trace = scale(number) * (1 + 0.01 * generator.normal())
        norms = {
            "shard_squared_norm": 1 + trace / config.shard_batch,
            "mean_squared_norm": 1 + trace / (config.global_batch or 1),
        }
        common = {"learning_rate": 0.1, "train_loss": 1.0, "step_seconds": 0.1, "data_seconds": 0.0}
        epoch = 1 + (number - 1) * EPOCHS // STEPS
        steps.append(StepRecord(step=number, epoch=epoch, worker_seconds=(0.1,), **common, **norms))
    folder = Store(root).open_run(config)
    folder.append_steps(steps)
    write_json(folder.provenance_file, {"machine": {"id": "one"}})
    folder.write_result(summarise(config, status, steps=steps))  # type: ignore[arg-type]


def doubling(step: int) -> float:
    """B_simple of 40 at first, 80 in the end, half of the way straight up."""
    return 40 * (1 + np.clip((step - STEPS / 3) / (STEPS / 3), 0, 1))


def steady(step: int) -> float:
    return 25.0


def test_the_table_has_what_was_put_in(tmp_path: Path) -> None:
    """Means over whole runs: (40 + 61 + 80) / 3 where it doubles, by thirds, and 25 where it stays."""
    for seed in range(5):
        add(tmp_path, doubling, seed)
        add(tmp_path, steady, seed, virtual_workers=8)
    (answer,) = answered(noise, read(tmp_path))
    small, large = answer.rows
    assert (small["framework"], small["global_batch"], small["shard_batch"], small["seeds"]) == ("torch", 16, 4, 5)
    assert small["simple"] == pytest.approx(181 / 3, rel=5e-3) and large["simple"] == pytest.approx(25, rel=5e-3)
    assert small["simple_ci95_low"] < 181 / 3 < small["simple_ci95_high"]
    assert small["growth"] == pytest.approx(2, rel=0.01) and small["growth_ci95_low"] > 1.9
    assert large["growth_ci95_low"] < 1.005 and large["growth_ci95_high"] > 0.995
    assert "virtual_workers" not in small  # it follows from the batch


def test_growth_is_claimed_where_its_interval_is_clear_of_one(tmp_path: Path) -> None:
    for seed in range(5):
        add(tmp_path, doubling, seed)
        add(tmp_path, lambda step, seed=seed: 25 + (seed - 2) * step / STEPS, seed, virtual_workers=8)  # type: ignore[misc]
    (answer,) = answered(noise, read(tmp_path))
    assert "5 seeds" in answer.sentences[0] and answer.sentences[0].endswith("it grows.")
    assert "does not change beyond the scatter of seeds" in answer.sentences[1]
    assert "order of magnitude" in answer.sentences[-1]


def test_a_diverged_run_is_counted_and_not_averaged(tmp_path: Path) -> None:
    for seed in range(3):
        add(tmp_path, steady, seed)
    add(tmp_path, doubling, 3, status="diverged")
    (answer,) = answered(noise, read(tmp_path))
    assert answer.rows[0]["diverged"] == 1 and answer.rows[0]["seeds"] == 3
    assert answer.rows[0]["simple"] == pytest.approx(25, rel=5e-3)
    assert "1 diverged" in answer.sentences[0]


def test_two_seeds_claim_nothing(tmp_path: Path) -> None:
    for seed in range(2):
        add(tmp_path, doubling, seed)
    (answer,) = answered(noise, read(tmp_path))
    assert "[–]" in answer.sentences[0] and "too few seeds" in answer.sentences[0]


def test_whatever_else_a_study_varies_makes_arms(tmp_path: Path) -> None:
    for momentum, scale in ((0.0, steady), (0.9, doubling)):
        add(tmp_path, scale, optimizer={"name": "sgd", "momentum": momentum})
    (answer,) = answered(noise, read(tmp_path))
    assert [row["optimizer.momentum"] for row in answer.rows] == [0.0, 0.9]
    assert [round(row["simple"]) for row in answer.rows] == [25, 60]


def test_the_figure_has_a_curve_for_each_arm(tmp_path: Path) -> None:
    """Curves rise from 40 to 80 over ten stretches of training, in a band of the seeds."""
    for framework in ("torch", "tensorflow"):
        for seed in range(3):
            add(tmp_path, doubling, seed, framework=framework)
    (answer,) = answered(noise, read(tmp_path))
    assert answer.draw is not None
    (axes,) = answer.draw().axes
    curves = [line for line in axes.lines if len(line.get_xdata()) == noise.WINDOWS]
    assert len(curves) == 2 and len(axes.collections) == 2
    for curve in curves:
        heights = np.asarray(curve.get_ydata(), float)
        assert heights[0] == pytest.approx(40, rel=0.01) and heights[-1] == pytest.approx(80, rel=0.01)
    names = {text.get_text() for text in axes.texts}
    assert {"PyTorch, batch 16", "TensorFlow, batch 16"} <= names


def test_runs_that_measure_no_noise_are_not_asked(tmp_path: Path) -> None:
    add(tmp_path, steady, noise_scale=False)
    assert answered(noise, read(tmp_path)) == []
