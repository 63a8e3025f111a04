"""`compare`: what is a regression and what is noise, what is compared with what, and what is refused."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from horovod_runner.analysis.load import tables
from horovod_runner.analysis.load.pack import pack
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions.comparison.pairs import Pair, paired
from horovod_runner.analysis.questions.comparison.verdicts import Verdict, judge
from horovod_runner.cli import main
from horovod_runner.errors import EXIT_USER_ERROR
from horovod_runner.results import record
from horovod_runner.results.store import read_json, write_json
from horovod_runner.statistics import ratios
from horovod_runner.statistics.interval import Interval
from tests.made_results import add_failure, add_run

JOB = {"workload": "unet", "framework": "torch", "workers": 2}
SCATTER = 0.015
"""Of throughput from run to run, as a fraction."""


def add_runs(
    root: Path, count: int, speed: float = 100.0, seed: int = 0, loss: float = 0.5, machine: str = "3f9c2a", **raw: Any
) -> None:
    """Write so many runs, one a seed, whose throughput and last loss scatter a little."""
    generator = np.random.default_rng(seed)
    for number, factor in enumerate(np.exp(SCATTER * generator.normal(size=(count, 2)))):
        mean = speed * float(factor[0])
        interval = Interval(mean=mean, ci95_low=0.98 * mean, ci95_high=1.02 * mean)
        losses = (2.0, loss * float(factor[1]))
        add_run(root, JOB | {"seed": number} | raw, machine, images_per_second=interval, val_loss=losses)


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path]:
    """An older set of six runs of a cell, and an empty folder for a newer one."""
    add_runs(tmp_path / "older", 6)
    return tmp_path / "older", tmp_path / "newer"


def compared(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str]:
    """Compare as a user does in a wide window; return the exit code, and what was said with its lines joined."""
    with pytest.MonkeyPatch.context() as wide:
        wide.setenv("COLUMNS", "160")
        code = main(["compare", *map(str, argv)])
    said = capsys.readouterr()
    return code, re.sub(r"\s+", " ", said.out + said.err)


def verdicts(root: Path, other: Path, margin: float = 0.05) -> dict[str, Verdict]:
    """Return the verdicts of the only cell by figure."""
    found = paired(tables.read(root), tables.read(other), ("A", "B"))
    return {verdict.figure.name: verdict for verdict in judge(found.pairs, margin)}


def test_a_real_slowdown_is_found_and_said_with_its_interval(
    sides: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    add_runs(sides[1], 6, speed=80, seed=1)
    code, said = compared(capsys, *sides)
    assert code == 1
    ratio = verdicts(*sides)["images/s"].ratio
    assert ratio and ratio.ci95_low and ratio.ci95_high and ratio.ci95_low < 0.8 < ratio.ci95_high < 0.83
    interval = f"{ratio.mean:.3f} [{ratio.ci95_low:.3f}, {ratio.ci95_high:.3f}]"
    assert said.count(interval) == 2
    assert " SLOWER " in said
    assert f"Regression beyond 5 % in 1 of 3 comparisons: unet torch 2 images/s {interval}." in said


def test_a_slowdown_within_the_margin_is_none(sides: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    add_runs(sides[1], 6, speed=98, seed=1)
    code, said = compared(capsys, *sides)
    assert (code, verdicts(*sides)["images/s"].word) == (0, "same")
    assert "No regression beyond 5 % was shown in 3 comparisons: 1 identical, 2 the same" in said
    assert verdicts(*sides, margin=0.001)["images/s"].word == "slower"


def test_a_gain_within_the_margin_is_none(sides: tuple[Path, Path]) -> None:
    add_runs(sides[1], 6, speed=103.5, seed=1)
    assert verdicts(*sides)["images/s"].p_better == 1
    assert verdicts(*sides, margin=0.001)["images/s"].word == "faster"


def test_what_got_faster_is_no_regression(sides: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    add_runs(sides[1], 6, speed=120, seed=1)
    assert compared(capsys, *sides)[0] == 0
    assert verdicts(*sides)["images/s"].word == "faster"


def test_worse_losses_are_a_regression(sides: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    add_runs(sides[1], 6, loss=0.6, seed=1)
    code, said = compared(capsys, *sides)
    assert code == 1
    assert "1 of 3 comparisons: unet torch 2 val loss 1.2" in said
    assert {name: verdict.word for name, verdict in verdicts(*sides).items()}["images/s"] == "same"
    assert compared(capsys, *reversed(sides))[0] == 0
    assert verdicts(*reversed(sides))["val loss"].word == "better"  # type: ignore[arg-type]


def test_losses_are_compared_seed_by_seed(tmp_path: Path) -> None:
    """Seeds scatter by a third, and each gets a tenth worse: unpaired, six a side could not tell."""
    sides = tmp_path / "older", tmp_path / "newer"
    for seed, loss in enumerate((0.3, 0.9, 0.5, 0.4, 0.7, 0.6)):
        for root, factor in zip(sides, (1.0, 1.10 + 0.01 * (seed % 2)), strict=True):
            add_run(root, JOB | {"seed": seed}, val_loss=(2.0, factor * loss))
    found = verdicts(*sides)["val loss"]
    assert found.by_seed and found.word == "worse" and 1.0 < (found.ratio or Interval(0, 0, 0)).mean < 1.12
    assert verdicts(sides[0], sides[0])["val loss"].word == "identical"


def test_identical_runs_are_said_to_be(sides: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    add_runs(sides[1], 6)
    code, said = compared(capsys, *sides, "--strict")
    assert code == 0 and "3 comparisons: 3 identical, 0 the same" in said


def test_strict_tells_by_its_code_that_nothing_can_be_told(
    sides: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    add_runs(sides[1], 2, speed=94, seed=1)
    assert compared(capsys, *sides)[0] == 0
    assert compared(capsys, *sides, "--strict")[0] == 3


def test_a_worse_metric_is_a_regression(sides: tuple[Path, Path]) -> None:
    for seed in range(6):
        metric = record.Metric(name="mean_iou", values=(0.2, 0.7 + 0.01 * seed))
        add_run(sides[1], JOB | {"seed": seed}, val_metric=metric)
    verdict = verdicts(*sides)["val metric"]
    assert (verdict.word, verdict.regression) == ("worse", True)


def test_repeats_of_a_seed_are_one_sample_of_its_loss(sides: tuple[Path, Path]) -> None:
    for repeat in range(6):
        add_runs(sides[1], 1, loss=0.9, repeat=repeat)
    verdict = verdicts(*sides)
    assert (len(verdict["images/s"].newer), len(verdict["val loss"].newer)) == (6, 1)
    assert verdict["val loss"].word == "inconclusive"


def test_too_few_runs_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_runs(tmp_path / "older", 3)
    add_runs(tmp_path / "newer", 3, speed=50, seed=1)
    code, said = compared(capsys, tmp_path / "older", tmp_path / "newer")
    assert code == 0
    assert "With 3 and 3 runs no p below 0.05 is possible here" in said
    assert "4 and 4 would do for 3 comparisons" in said
    assert "1 inconclusive" in said


def test_a_single_run_a_side_shows_its_ratio_and_no_regression(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_runs(tmp_path / "older", 1)
    add_runs(tmp_path / "newer", 1, speed=50)
    code, said = compared(capsys, tmp_path / "older", tmp_path / "newer")
    assert code == 0
    assert "0.500 [0.486, 0.514]" in said
    assert "a single run a side shows no regression" in said


def test_a_cell_that_completes_no_more_is_a_regression(
    sides: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(2):
        add_failure(sides[1], JOB | {"seed": seed}, "failed", "out of memory")
    code, said = compared(capsys, *sides)
    assert code == 1
    assert "unet torch 2: 2 failed of 2" in said
    assert "unet torch 2: no run completed" in said
    code, said = compared(capsys, *reversed(sides))
    assert (code, "no run of" in said) == (EXIT_USER_ERROR, True)


def test_failed_runs_are_counted_and_in_no_figure(sides: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    add_runs(sides[1], 6, seed=1)
    add_failure(sides[1], JOB | {"seed": 9}, "timeout", "no step for an hour")
    code, said = compared(capsys, *sides)
    assert (code, "Not completed in B, and in no figure: unet torch 2: 1 timeout of 7." in said) == (0, True)
    assert len(verdicts(*sides)["images/s"].newer) == 6


def test_packed_and_loose_are_equal(sides: tuple[Path, Path], tmp_path: Path) -> None:
    add_runs(sides[1], 6, speed=90, seed=1)
    before = verdicts(*sides)
    pack(sides[1] / "bench")
    for folder in (sides[1] / "bench").glob("*/"):
        shutil.rmtree(folder)
    after = verdicts(sides[0], sides[1] / "bench")
    assert [dataclasses.replace(verdict, pair=before[name].pair) for name, verdict in after.items()] == [
        *before.values()
    ]


def test_other_machines_are_refused_unless_asked_for(
    sides: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    add_runs(sides[1], 6, speed=80, seed=1, machine="other")
    code, said = compared(capsys, *sides)
    assert (code, "another machine (3f9c2a)" in said, "--across-machines" in said) == (EXIT_USER_ERROR, True, True)
    assert compared(capsys, *sides, "--across-machines")[0] == 1
    add_runs(sides[1], 2, seed=2, repeat=1)
    assert "several machines, which are never averaged" in compared(capsys, *sides, "--across-machines")[1]


def test_other_work_is_refused_unless_asked_for(sides: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    add_runs(sides[1], 6, speed=80, seed=1, width=24)
    code, said = compared(capsys, *sides)
    assert (code, "they differ in width;" in said, "--different-work" in said) == (EXIT_USER_ERROR, True, True)
    code, said = compared(capsys, *sides, "--different-work")
    assert code == 1
    assert re.search(r"Different work \(unet torch 2\): width \d+ → 24\.", said)
    add_runs(sides[1], 1, width=40)
    code, said = compared(capsys, *sides, "--different-work")
    assert (code, "several settings of one job" in said) == (EXIT_USER_ERROR, True)


def test_what_has_no_like_is_named_and_left_out(sides: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    add_runs(sides[1], 6, seed=1)
    add_runs(sides[1], 2, workers=4)
    code, said = compared(capsys, *sides)
    assert (code, "Only in B, and not compared: 2 runs (unet torch 4)." in said) == (0, True)


def test_compute_only_workers_are_compared_with_compute_only_workers(
    sides: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    add_runs(sides[0], 6, speed=150, strategy="none")
    add_runs(sides[1], 6, seed=1)
    add_runs(sides[1], 6, speed=100, seed=1, strategy="none")
    code, said = compared(capsys, *sides)
    assert code == 1
    assert "in 1 of 6 comparisons: unet torch compute-only 2 images/s 0.6" in said


def test_no_job_in_common(sides: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    add_runs(sides[1], 1, framework="tensorflow")
    code, said = compared(capsys, *sides, "--different-work")
    assert (code, "no job in common" in said) == (EXIT_USER_ERROR, True)


def test_experiments_and_settings_that_came_later_keep_nothing_apart(sides: tuple[Path, Path]) -> None:
    """The older version knew no `loss.dice_weight`: its runs behaved as today's default does."""
    add_runs(sides[1], 6, seed=1, experiment="again")
    for file in sides[0].glob("bench/*/config.json"):
        config = read_json(file)
        del config["loss"]["dice_weight"]
        write_json(file, config)
    assert len(verdicts(*sides)["images/s"].newer) == 6


def test_versions_are_told_and_compared(sides: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    add_runs(sides[1], 6, seed=1)
    for file in sides[1].glob("bench/*/provenance.json"):
        told = read_json(file)
        write_json(file, told | {"commit": "fedc", "versions": told["versions"] | {"torch": "2.14.0"}})
    code, said = compared(capsys, *sides)
    assert code == 0
    assert "Not the same: versions.torch: 2.13.0 → 2.14.0." in said
    assert "→ fedc." in said
    assert "versions.tensorflow" not in said


def test_a_copy_of_a_run_is_not_another_run(sides: tuple[Path, Path]) -> None:
    add_runs(sides[1], 6, seed=1)
    shutil.copytree(sides[1] / "bench", sides[1] / "copy")
    assert len(verdicts(*sides)["images/s"].newer) == 6


@pytest.mark.parametrize("margin", ["-0.1", "1", "5", "nan", "much"])
def test_a_margin_is_a_fraction(margin: str, sides: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    code, said = compared(capsys, *sides, "--margin", margin)
    assert (code, "--margin" in said) == (EXIT_USER_ERROR, True)


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A bootstrap that is quick: the interval is no part of what makes a regression."""
    monkeypatch.setattr(ratios, "RESAMPLES", 50)
    yield


@pytest.mark.parametrize(("speed", "loss", "flagged_at_most"), [(1, 1, 0), (0.95, 1, 20), (1, 1.05, 20)])
def test_noise_is_not_taken_for_a_regression(
    speed: float, loss: float, flagged_at_most: int, tmp_path: Path, few_resamples: None
) -> None:
    """200 studies of 8 cells of 6 runs a side, throughput and losses scattering by 4 %: with nothing changed none is
    flagged, and with all cells worse by exactly the margin, where the test is at its limit, about 5 % (10) at most."""
    add_run(tmp_path, JOB)
    (pair,) = paired(runs := tables.read(tmp_path), runs, ("A", "B")).pairs
    generator = np.random.default_rng(11)
    studies = (_study(pair, speed, loss, generator) for _ in range(200))
    assert sum(any(verdict.regression for verdict in judge(study, 0.05)) for study in studies) <= flagged_at_most


def _study(pair: Pair, speed: float, loss: float, generator: np.random.Generator) -> list[Pair]:
    """Return eight pairs of a cell with throughput and last loss drawn anew."""
    like = pair.older[0]
    made = [(_runs(like, 1, 1, generator), _runs(like, speed, loss, generator)) for _ in range(8)]
    return [dataclasses.replace(pair, older=older, newer=newer) for older, newer in made]


def _runs(like: Run, speed: float, loss: float, generator: np.random.Generator) -> tuple[Run, ...]:
    drawn = [speed, loss] * np.exp(0.04 * generator.normal(size=(6, 2)))
    changes = [
        {
            "seed": seed,
            "images_per_second": Interval(mean=float(rate), ci95_low=None, ci95_high=None),
            "val_loss": (float(last),),
            "val_metric": None,
        }
        for seed, (rate, last) in enumerate(drawn)
    ]
    return tuple(dataclasses.replace(like, result=like.result.model_copy(update=change)) for change in changes)
