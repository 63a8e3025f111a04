"""A job in numbers: a published speedup is placed under each reading of its base, and mistakes are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from horovod_runner.cli import main
from horovod_runner.errors import UserError
from horovod_runner.prediction.network import Network
from horovod_runner.prediction.profile import forecast_of, placed, read_profile
from tests.conftest import ROOT

LEE = ROOT / "benchmarks" / "ladders" / "lee"
PROFILE = """
name: made
parameters: 25_000_000
global_batch: [64]
seconds_per_image: 0.01
start_seconds: 0.02
strategies: [blocking]
published: {workers: 16, speedup: 100}
readings: [{base: one core, times: 10}, {base: one worker}]
"""


def test_a_speedup_is_placed_under_each_reading(tmp_path: Path) -> None:
    """16 workers at 1 GB/s: 0.06 + 0.1875 s for the step that takes one worker 0.66 s, 2.67 times as fast."""
    file = tmp_path / "job.yaml"
    file.write_text(PROFILE.replace("25_000_000", "25000000"))
    profile = read_profile(file)
    between = {"latency_us": 0.001, "bandwidth_gb_per_second": 1, "congestion": 0}
    network = Network.model_validate({"between": between, "scatter": 1e-6})
    core, worker = placed(profile, [forecast_of(profile, network, "blocking", 64)])
    assert worker.predicted.mean == pytest.approx(0.66 / (0.02 + 0.04 + 0.1875), rel=0.01)
    assert core.predicted.mean == pytest.approx(10 * worker.predicted.mean, rel=0.01)
    assert worker.below == core.below == 1.0, "neither reaches 100"


@pytest.mark.parametrize("job", ["resnet50", "vgg16"])
def test_lee_is_said_today_as_it_was_committed(job: str, tmp_path: Path) -> None:
    words = ["predict", "--profile", str(LEE / f"{job}.yaml"), "--network", str(LEE / "cori.yaml")]
    assert main([*words, "--out", str(tmp_path)]) == 0
    fresh, stored = (
        json.loads((folder / "profile.json").read_text())
        for folder in (tmp_path, ROOT / "results" / "prediction" / f"lee-{job}")
    )
    assert [one["lies"] for one in fresh["published"]] == [one["lies"] for one in stored["published"]]
    assert len(fresh["published"]) == 2 * 3 * 3
    assert all(one["lies"] == "above" for one in fresh["published"] if one["base"] == "one node")


@pytest.mark.parametrize(
    "change, sentence",
    [
        (("[blocking]", "[magic]"), "magic is none of"),
        (("parameters", "parameter"), "parameter"),
        (("seconds_per_image: 0.01", "seconds_per_image: [2, 1]"), "seconds_per_image: its low end"),
    ],
)
def test_a_wrong_profile_is_named(change: tuple[str, str], sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(PROFILE.replace("25_000_000", "25000000").replace(*change))
    with pytest.raises(UserError) as refused:
        read_profile(file)
    assert str(refused.value).startswith(str(file)) and sentence in str(refused.value)


def test_a_profile_needs_a_network(tmp_path: Path, capsys: Any) -> None:
    assert main(["predict", "--profile", str(LEE / "vgg16.yaml"), "--out", str(tmp_path / "out")]) == 2
    assert "give --network FILE" in capsys.readouterr().err
