"""The benchmark of the reduction layer: ratios within a round, the best strategy judged where it was not chosen, and
rounds that survive a failing arm and a second call."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.peers.jobs import gradient_bytes
from benchmarks.peers.layer import block_arms
from benchmarks.peers.layer_rows import LayerJob, TargetRow, choices, exposed_ms, memory_over_compute_only, target_rows
from benchmarks.peers.layer_tables import strategies_table, targets_table
from benchmarks.peers.rounds import Failed, Rounds, Sample, ratios
from horovod_runner.errors import UserError

IMAGES = 32  # a step of two workers


def sample(rate: float, memory: int = 0) -> Sample:
    return Sample(rate, IMAGES / rate, memory)


def arms(**rates: float | None) -> dict[str, Sample]:
    return {
        name.replace("_", "-"): Sample(failed="a reason") if rate is None else sample(rate)
        for name, rate in rates.items()
    }


def test_ratios_are_taken_within_a_round_and_leave_out_what_failed() -> None:
    rounds = [
        arms(ours=90, compute_only=100),
        arms(ours=45, compute_only=50),
        arms(ours=None, compute_only=50),
        arms(ours=30, compute_only=60),
    ]
    assert ratios(rounds, "ours", "compute-only") == [0.9, 0.9, 0.5]


def test_the_best_is_judged_on_rounds_that_did_not_choose_it() -> None:
    """`lucky` wins one round by far; it must not be both chosen by that round and judged on it."""
    rounds = [
        arms(compute_only=100, blocking=80, lucky=99),
        arms(compute_only=100, blocking=80, lucky=60),
        arms(compute_only=100, blocking=80, lucky=60),
    ]
    chosen = choices(rounds, ["blocking", "lucky"])
    assert chosen[0] == "blocking", "the others say so, whatever happened in this one"
    (row, *_) = target_rows(LayerJob("torch", "resnet50", rounds, 1), ["blocking", "lucky"])
    assert row.values[0] == 0.8
    assert choices(rounds, ["blocking", "lucky"], "lucky") == ["lucky"] * 3


def test_late_gradients_and_failures_are_not_chosen() -> None:
    rounds = [arms(compute_only=100, lag1=99, fused=70, grouped=None)] * 2
    assert choices(rounds, ["lag1", "fused", "grouped"]) == ["fused", "fused"]
    assert choices(rounds, ["lag1"]) == [None, None]
    assert choices(rounds[:1], ["fused"]) == [None], "a single round cannot choose for itself"


def test_targets_of_a_job() -> None:
    one = {
        "compute-only": sample(100, memory=1000),
        "fused": sample(80, memory=1500),
        "blocking": sample(90, memory=1100),
        "ddp": sample(75),
        "minimal-horovod": sample(75),
        "allreduce": Sample(seconds=0.04),
        "alone": sample(50),
        "alone-none": sample(50.25),
    }
    rows = {
        row.case.split(": ")[1]: row
        for row in target_rows(LayerJob("torch", "vgg16", [one] * 3, 200), ["fused", "blocking"])
    }
    bound = rows["step over compute-only step + one blocking allreduce"]
    assert bound.median == pytest.approx((IMAGES / 90) / (IMAGES / 100 + 0.04)) and bound.verdict == "hit"
    ddp = rows["images/s over DistributedDataParallel"]
    assert ddp.median == pytest.approx(1.2) and ddp.verdict == "hit" and ddp.strategies == Counter({"blocking": 3})
    assert rows["images/s over minimal Horovod"].verdict == "missed", "1.2 is below 1.25"
    assert rows["one worker's step, default strategy over none"].median == pytest.approx(1.005)
    memory = rows["memory over none in gradients, the largest"]
    assert memory.median == 2.5 and memory.verdict == "missed" and memory.strategies == Counter({"fused": 3})
    assert "images/s over compute-only workers" not in rows, "the issue has no such target for this job"


def test_the_bounds_of_a_target_belong_to_it() -> None:
    def verdict(sense: str, *values: float) -> str:
        return TargetRow("a case", sense, 1.0, values, 3, Counter()).verdict  # type: ignore[arg-type]

    assert [verdict("at least", 1.0), verdict("at most", 1.0)] == ["hit", "hit"]
    assert [verdict("at least", 0.9, 0.99, 5), verdict("at most", 0.1, 1.01, 5)] == ["missed", "missed"]
    assert verdict("at least") == "failed"


def test_tables_say_what_failed_and_how_many_rounds_count() -> None:
    rounds = [arms(compute_only=100, fused=80), arms(compute_only=50, fused=None), arms(compute_only=100, fused=90)]
    job = LayerJob("torch", "resnet50", rounds, 1)
    over_compute_only = targets_table(target_rows(job, ["fused"])).splitlines()[2]
    assert "| at least 0.85 | 0.850 | 0.800 to 0.900 | hit, 2 of 3 rounds | fused (2) |" in over_compute_only
    assert exposed_ms(job, "fused") == pytest.approx((80.0, 1000 * (32 / 90 - 32 / 100)))
    assert memory_over_compute_only(job, "fused") == (0.0, 0.0)
    assert "| resnet50 | torch | fused | 85.0 | 0.850 | 0.800 to 0.900 |" in strategies_table([job], ["fused"])


def test_a_failing_arm_is_noted_and_the_rounds_go_on(tmp_path: Path) -> None:
    called: list[tuple[str, str]] = []

    def measure(block: str, arm: str) -> Sample:
        called.append((block, arm))
        if arm == "b":
            raise Failed("no such thing")
        return sample(10)

    rounds = Rounds({"steps": 8}, tmp_path / "new" / "rounds.json")
    rounds.measure({"x": "abc", "y": "abc"}, measure, 4)
    assert [each["b"].failed for each in rounds.of("y")] == ["no such thing"] * 4
    assert ratios(rounds.of("x"), "a", "c") == [1.0] * 4
    orders = [tuple(called[i : i + 6]) for i in range(0, 24, 6)]
    assert len(set(orders)) > 1 and all(sorted(order) == sorted(orders[0]) for order in orders)
    assert all(len({block for block, _ in order[:3]}) == 1 for order in orders), "a block's arms stand together"


def test_a_second_call_goes_on_and_refuses_other_settings(tmp_path: Path) -> None:
    file = tmp_path / "rounds.json"
    Rounds({"steps": 8}, file).measure({"x": "a"}, lambda block, arm: sample(10, memory=7), 2)
    again = Rounds({"steps": 8}, file)
    again.measure({"x": "a"}, lambda block, arm: sample(20), 3)
    assert [each["a"].images_per_second for each in again.of("x")] == [10, 10, 20]
    assert again.of("x")[0]["a"] == sample(10, memory=7)
    with pytest.raises(UserError, match=r"rounds.json: .*other settings"):
        Rounds({"steps": 9}, file).measure({"x": "a"}, lambda block, arm: sample(10), 3)
    held = json.loads(file.read_text())
    file.write_text(json.dumps({**held, "machine": {"id": "another"}}))
    with pytest.raises(UserError, match="another machine"):
        Rounds({"steps": 8}, file).measure({"x": "a"}, lambda block, arm: sample(10), 3)


def test_arms_and_gradients_of_the_jobs() -> None:
    assert "ddp" in block_arms("torch", "unet", ["fused"]) and "ddp" not in block_arms("tensorflow", "unet", ["fused"])
    assert "alone" in block_arms("tensorflow", "resnet50", []) and "alone" not in block_arms("tensorflow", "unet", [])
    # torchvision's ResNet-50 has 25,557,032 parameters; VGG-16's convolutions have 14,714,688.
    assert gradient_bytes("resnet50", 64) == 4 * 25_557_032
    assert gradient_bytes("vgg16", 64) > 4 * 14_714_688
