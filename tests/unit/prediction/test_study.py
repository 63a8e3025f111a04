"""Studies: made runs of a known machine are extended as it would; what is missing is said in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from horovod_runner.analysis.load import tables
from horovod_runner.analysis.questions.prediction import Asked, forecasts, possible, sizes
from horovod_runner.cli import main
from horovod_runner.config.schema import decode
from horovod_runner.errors import UserError
from horovod_runner.prediction.network import Network, of_allreduce, read_network
from tests.conftest import ROOT
from tests.made_results import add_failure, add_timed

JOB = {"workload": "unet", "framework": "torch", "experiment": "made", "scaling": "weak"}
START, PER_IMAGE = 0.05, 0.02


def seconds(batch: int) -> float:
    return START + PER_IMAGE * batch


def make(root: Path, blocking: float | None = 0.06, batches: tuple[int, ...] = (4, 8), **more: Any) -> Path:
    """Write a study of compute-only runs at two batches, and blocking runs on two workers that take so much longer."""
    for repeat in range(4):
        factor = 1 + 0.004 * (repeat - 1.5)
        raw = {**JOB, "repeat": repeat, **more}
        for batch in batches:
            add_timed(
                root, {**raw, "workers": 2, "strategy": "none", "local_batch": batch}, [seconds(batch) * factor] * 2
            )
        if blocking is not None:
            both = [(seconds(8) + blocking) * factor] * 2
            add_timed(root, {**raw, "workers": 2, "strategy": "blocking", "local_batch": 8}, both)
    return root


def test_a_known_machine_is_extended(tmp_path: Path) -> None:
    """Of 60 ms between two workers, four take 1.5 times as many for their bytes, and up to 1.23 for congestion."""
    (made,) = forecasts(tables.read(make(tmp_path)), Asked())
    assert made.linked_alike and not made.ready_measured
    table = {one.workers: one for one in made.forecast.table([1, 2, 4], [2])}
    one, two, four = (table[count].step_seconds for count in (1, 2, 4))
    assert one.mean == pytest.approx(seconds(8), rel=0.01)
    assert two.mean == pytest.approx(seconds(8) + 0.06, rel=0.02) and not two.leaves_out(seconds(8) + 0.06)
    assert seconds(8) + 1.5 * 0.06 < four.mean < seconds(8) + 1.6 * 0.06 * 1.23 + 0.01
    assert table[2].bound_by == "communication" and table[2].measured and not table[4].measured
    assert table[4].efficiency.mean == pytest.approx(one.mean / four.mean, rel=0.01)
    assert made.measured[2].mean == pytest.approx(16 / (seconds(8) + 0.06), rel=0.01)


def test_strong_scaling_shares_the_batch_and_pays_the_start_every_time(tmp_path: Path) -> None:
    (made,) = forecasts(tables.read(make(tmp_path)), Asked(scaling="strong"))
    (four,) = made.forecast.table([4])
    assert four.local_batch == 2 and four.step_seconds.mean > START + 2 * PER_IMAGE + 0.09
    knee = made.forecast.knee(0.8, [1, 2, 4, 8])
    assert 1 < knee.mean < 2


def test_the_rule_and_its_formula_agree_where_one_number_bounds_all(tmp_path: Path) -> None:
    """60 ms at full speed, nothing of it hidden: less than a twentieth from 1.2 s of computing on."""
    (made,) = forecasts(tables.read(make(tmp_path)), Asked())
    rule = made.forecast.rule(2)
    assert rule.batch.mean == pytest.approx((0.06 / 0.05 - START) / PER_IMAGE, rel=0.1)
    assert rule.halving.mean > 1


def test_what_would_help_is_ordered_and_right_for_half_the_bytes(tmp_path: Path) -> None:
    (made,) = forecasts(tables.read(make(tmp_path)), Asked())
    helps = dict(made.forecast.helps(2, made.forecast.others))
    assert list(helps.values()) == sorted(helps.values(), key=lambda gain: -gain.mean)
    assert helps["half the bytes"].mean == pytest.approx(0.27 / 0.24, rel=0.02)
    assert helps["twice the bandwidth"].mean == pytest.approx(helps["half the bytes"].mean)
    assert helps["twice the local batch"].mean == pytest.approx(2 * 0.27 / 0.43, rel=0.02)
    assert {"strategy fused", "strategy lag1", "strategy multistep"} <= set(helps) and "strategy blocking" not in helps


def test_a_network_of_known_numbers_is_taken_at_its_word(tmp_path: Path) -> None:
    """No runs that reduce; 1 GB/s between hosts of four and 10 GB/s within them."""
    make(tmp_path, blocking=None)
    level = {"latency_us": 1, "bandwidth_gb_per_second": 10}
    between = {"latency_us": 1, "bandwidth_gb_per_second": 1, "congestion": 0}
    network = Network.model_validate({"ranks_per_host": 4, "within": level, "between": between, "overlap": 0})
    (made,) = forecasts(tables.read(tmp_path), Asked(network, strategies=("blocking",)))
    size = sum(sizes(decode({**JOB, "workers": 1}, "a test")).values())
    expected = seconds(8) + size * (2 * 3 / 4 / 10e9 + 2 * 1 / 2 / 1e9)
    parts = made.forecast.parts([8])
    assert np.median(parts.computing + parts.communication) == pytest.approx(expected, rel=0.01)


def test_what_a_study_lacks_is_said_in_one_sentence(tmp_path: Path) -> None:
    cases = {
        "one batch": (make(tmp_path / "a", batches=(8,)), "have a local batch of 8"),
        "no two workers": (make(tmp_path / "b", blocking=None), "give --network FILE"),
    }
    for repeat in range(3):
        add_timed(
            tmp_path / "c", {**JOB, "workers": 2, "repeat": repeat, "strategy": "fused", "local_batch": 8}, [1.0] * 2
        )
        add_failure(tmp_path / "d", {**JOB, "workers": 2, "repeat": repeat}, "diverged", "the loss became NaN")
    cases["no compute-only runs"] = (tmp_path / "c", "no compute-only runs")
    cases["diverged"] = (tmp_path / "d", "3 diverged")
    for name, (root, sentence) in cases.items():
        with pytest.raises(UserError) as refused:
            forecasts(tables.read(root), Asked())
        assert sentence in str(refused.value) and "\n" not in str(refused.value), name
        assert possible(tables.read(root)) == []
    make(tmp_path / "e")
    for file in list((tmp_path / "e").rglob("provenance.json"))[:3]:
        told = json.loads(file.read_text())
        told["machine"]["id"] = "another"
        file.write_text(json.dumps(told))
    with pytest.raises(UserError, match="2 machines"):
        forecasts(tables.read(tmp_path / "e"), Asked())


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--workers", "0..4"], "--workers: 0..4"),
        (["--workers", "many"], "--workers: many"),
        (["--workers", "8..2"], "--workers: 8..2"),
        (["--workers-per-host", "0"], "--workers-per-host: 0"),
        (["--scaling", "up"], "--scaling: up"),
        (["--strategy", "magic"], "--strategy magic"),
        (["--workers", "1"], "is below the 2"),
        (["--network", "none.yaml"], "none.yaml"),
        (["--allreduce", "nowhere"], "nowhere"),
        (["--timeline", "nowhere"], "nowhere"),
        (["--network", "a", "--allreduce", "b"], "give one of the two"),
        (["--ladder", "a"], "give one of"),
    ],
)
def test_a_wrong_option_is_named(words: list[str], sentence: str, tmp_path: Path, capsys: Any) -> None:
    make(tmp_path / "study")
    assert main(["predict", str(tmp_path / "study" / "made"), *words, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert sentence in said and len(said.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_the_verb_writes_what_it_says(tmp_path: Path) -> None:
    make(tmp_path / "study")
    words = ["predict", str(tmp_path / "study" / "made"), "--workers", "2..8192", "--out", str(tmp_path / "out")]
    assert main(words) == 0
    (told,) = json.loads((tmp_path / "out" / "prediction.json").read_text())["forecasts"]
    assert [row["workers"] for row in told["predictions"]] == [2**power for power in range(1, 14)]
    assert told["rule"]["workers"] == 8192 and {knee["efficiency"] for knee in told["knees"]} == {0.8, 0.5}
    for row in told["predictions"]:
        assert row["images_per_second_ci95_low"] <= row["images_per_second"] <= row["images_per_second_ci95_high"]
        shares = [row[f"{part}_share"] for part in ("computing", "stragglers", "coordination", "communication")]
        assert sum(shares) == pytest.approx(1, abs=0.05), "medians of parts of each draw"
    assert (tmp_path / "out" / "prediction.png").exists() and (tmp_path / "out" / "prediction.csv").exists()


NETWORK = """
name: x
ranks_per_host: 4
between: {latency_us: [10, 50], bandwidth_gb_per_second: 1.2}
"""


@pytest.mark.parametrize(
    "change, sentence",
    [
        (
            ("latency_us: [10, 50]", "latency_us: [50, 10]"),
            "between.latency_us: its low end 50 is above its high end 10",
        ),
        (("latency_us: [10, 50], ", ""), "between.latency_us: is missing"),
        (("1.2", "fast"), "between.bandwidth_gb_per_second: it is neither a number nor a range"),
        (("1.2", "-1"), "between.bandwidth_gb_per_second"),
        (("ranks_per_host", "ranks_per_node"), "ranks_per_node"),
        (("ranks_per_host: 4", "ranks_per_host: 0"), "ranks_per_host"),
        ((NETWORK, "- 1\n"), "a network file is a mapping"),
    ],
)
def test_a_wrong_network_is_named_by_file_and_key(change: tuple[str, str], sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "network.yaml"
    file.write_text(NETWORK)
    assert read_network(file).between.bandwidth_gb_per_second == (1.2, 1.2)
    file.write_text(NETWORK.replace(*change))
    with pytest.raises(UserError) as refused:
        read_network(file)
    assert str(refused.value).startswith(str(file)) and sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_committed_allreduce_is_a_network() -> None:
    """Two workers' busbw is their algbw, about 2.5 GB/s for 94 MB in 38 ms."""
    low, high = of_allreduce(ROOT / "results" / "allreduce").between.bandwidth_gb_per_second
    assert 0.5 < low <= high < 50 and np.isfinite([low, high]).all()
