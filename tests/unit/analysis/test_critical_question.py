"""Whether the noise scale predicts the critical batch: runs of a known B_simple beside trials of a known B_crit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.load.tables import read
from horovod_runner.analysis.questions import critical
from horovod_runner.analysis.report.answers import answered
from horovod_runner.config.schema import decode
from horovod_runner.results.record import StepRecord
from horovod_runner.results.store import Store, write_json
from horovod_runner.results.summary import summarise
from horovod_runner.statistics.noise_scale import of_steps

STEPS, REACHED, SHARD = 60, 30, 4
S_MIN, B_CRIT = 40.0, 64.0
BASE: dict[str, Any] = {"workload": "resnet50", "framework": "torch", "scaling": "strong", "target": {"metric": 0.9}}


def trial(root: Path, batch: int, seed: int, steps: float, **changes: Any) -> None:
    """Write a run that reached the target after so many steps."""
    config = decode({**BASE, "global_batch": batch, "seed": seed, "steps": 2000, **changes}, "made")
    folder = Store(root).open_run(config)
    write_json(folder.provenance_file, {"machine": {"id": "one"}})
    reached = int(steps) if math.isfinite(steps) else None
    folder.write_result(summarise(config, "completed").model_copy(update={"steps_to_target": reached}))


def noisy(root: Path, seed: int, before: float, reached: int | None = REACHED, every: int = 1, **changes: Any) -> None:
    """Write a run with this B_simple until the target is reached, and a thousand times as much afterwards.

    `every` so many steps one is on record.
    """
    raw = {**BASE, "scaling": "weak", "local_batch": SHARD, "virtual_workers": 4, "seed": seed, "noise_scale": True}
    config = decode({**raw, "steps": STEPS, **changes}, "made")
    generator = np.random.default_rng(seed)
    steps = []
    for number in range(1, STEPS + 1):
        trace = (before if number <= REACHED else 1000 * before) * (1 + 0.05 * generator.normal())
        norms = {"shard_squared_norm": 1 + trace / SHARD, "mean_squared_norm": 1 + trace / (config.global_batch or 1)}
        common = {"learning_rate": 0.1, "train_loss": 1.0, "step_seconds": 0.1, "data_seconds": 0.0}
        steps.append(StepRecord(step=number, epoch=1, worker_seconds=(0.1,), **common, **norms))
    folder = Store(root).open_run(config)
    folder.append_steps(steps[every - 1 :: every])
    write_json(folder.provenance_file, {"machine": {"id": "one"}})
    folder.write_result(summarise(config, "completed", steps=steps).model_copy(update={"steps_to_target": reached}))


def study(root: Path, noise: Callable[[int], float]) -> list[Run]:
    """Return trials of a known law, and noisy runs with a B_simple for each seed."""
    for seed in range(5):
        scatter = np.random.default_rng(seed).normal(size=6)
        for place, batch in enumerate((8, 16, 32, 64, 128, 256)):
            trial(root, batch, seed, S_MIN * (1 + B_CRIT / batch) * math.exp(0.02 * scatter[place]))
        noisy(root, seed, noise(seed))
    return read(root)


def test_noise_until_the_target_stands_beside_the_bend_of_the_curve(tmp_path: Path) -> None:
    (answer,) = answered(critical, [study(tmp_path, lambda seed: 128.0 + seed - 2)])
    (row,) = answer.rows
    assert (row["framework"], row["global_batch"], row["seeds"]) == ("torch", 16, 5)
    assert row["b_simple"] == pytest.approx(128, rel=0.02), "what comes after the target does not count"
    assert row["b_crit"] == pytest.approx(B_CRIT, rel=0.1)
    assert row["ratio"] == pytest.approx(row["b_simple"] / row["b_crit"])
    assert row["ratio_ci95_low"] < 2 < row["ratio_ci95_high"] and row["ratio_ci95_low"] > 1
    assert "larger" in answer.sentences[0] and "order of magnitude" in answer.sentences[-1]
    assert answer.draw is not None and len(answer.draw().axes) == 1


def test_steps_that_are_not_on_record_do_not_move_the_target(tmp_path: Path) -> None:
    """Of every fifth step, the sixth that is recorded is the last before the target."""
    for seed in range(3):
        for batch in (8, 32, 128):
            trial(tmp_path, batch, seed, S_MIN * (1 + B_CRIT / batch))
        noisy(tmp_path, seed, 50.0, every=5, record_every=5)
    (answer,) = answered(critical, [read(tmp_path)])
    assert answer.rows[0]["b_simple"] == pytest.approx(50, rel=0.05) and answer.rows[0]["seeds"] == 3


def test_equal_scales_are_indistinguishable(tmp_path: Path) -> None:
    (answer,) = answered(critical, [study(tmp_path, lambda seed: B_CRIT + 8 * (seed - 2))])
    assert "indistinguishable" in answer.sentences[0]


def test_only_what_belongs_together_is_compared(tmp_path: Path) -> None:
    """Another framework's noise, another optimizer's, another target's, and runs that never reached theirs."""
    for seed in range(3):
        for batch in (8, 32, 128):
            trial(tmp_path, batch, seed, S_MIN * (1 + B_CRIT / batch))
        noisy(tmp_path, seed, 50.0, framework="tensorflow")
        noisy(tmp_path, seed, 50.0, optimizer={"name": "adam"})
        noisy(tmp_path, seed, 50.0, target={"metric": 0.8})
        noisy(tmp_path, seed, 50.0, reached=None)
    runs = read(tmp_path)
    assert answered(critical, [runs]) == []
    assert answered(critical, [[run for run in runs if run.config.noise_scale]]) == []
    other_machine = [replace(run, provenance={"machine": {"id": run.result.framework}}) for run in runs]
    assert answered(critical, [other_machine]) == []


def test_the_way_to_the_target_is_averaged_before_it_is_divided(tmp_path: Path) -> None:
    """One seed alone: B_simple is mean tr(Sigma) over mean |G|^2 of its first steps, and has no interval."""
    for batch in (8, 32, 128):
        trial(tmp_path, batch, 0, S_MIN * (1 + B_CRIT / batch))
    noisy(tmp_path, 0, 50.0)
    (answer,) = answered(critical, [read(tmp_path)])
    (row,) = answer.rows
    traces = np.array([50.0 * (1 + 0.05 * np.random.default_rng(0).normal(size=STEPS)[n]) for n in range(REACHED)])
    whole = of_steps(traces, np.ones(REACHED))
    assert whole is not None and row["b_simple"] == pytest.approx(whole.mean)
    assert row["b_simple_ci95_low"] is None and "cannot be said" in answer.sentences[0]
