"""Ladders: what is read, what is refused in one sentence, and that a known machine is found again and extended."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from horovod_runner.cli import main
from horovod_runner.errors import UserError
from horovod_runner.prediction import sheet
from horovod_runner.prediction.calibration import Observed, Setup, fitted_to_ladder
from horovod_runner.prediction.draws import priors
from horovod_runner.prediction.job import PATTERNS, evenly
from horovod_runner.prediction.ladder import COLUMNS, score
from horovod_runner.prediction.nulls import nulls
from horovod_runner.statistics.laws import speedup
from tests.conftest import ROOT

LADDERS = ROOT / "benchmarks" / "ladders"
ROWS = ("1,8,128,362,fit", "8,8,128,2722,fit", "16,8,128,5099,fit", "32,8,128,9515,judge")


def written(folder: Path, *rows: str, head: str = ",".join(COLUMNS)) -> Path:
    """Return a file with these rows, each from its workers on."""
    file = folder / "ladder.csv"
    file.write_text("\n".join([head, *(f"ResNet-50,25560000,4,{row}" for row in rows)]) + "\n")
    return file


def test_every_published_ladder_is_read_and_those_with_sizes_enough_are_judged() -> None:
    ladders = [ladder for file in sorted(LADDERS.glob("*.csv")) for ladder in score(file)]
    assert len(ladders) == 11 and sum(bool(ladder.scored) for ladder in ladders) == 5
    judged = sheet.cells(ladders)
    assert [len(ladder.scored) for ladder in ladders if ladder.scored] == [1, 1, 1, 4, 3]
    sizes = [abs(one.error or 0) for _, one in judged]
    assert sizes == sorted(sizes, reverse=True), "the bad ones first"
    medians = sheet.medians([one for _, one in judged])
    own = medians.pop("predicted")
    assert own is not None and all(own < other for other in medians.values() if other is not None)


def test_the_committed_sheet_is_what_the_command_makes_today(tmp_path: Path) -> None:
    files = map(str, sorted(LADDERS.glob("*.csv")))
    assert main(["predict", "--ladder", *files, "--out", str(tmp_path)]) == 0
    stored = json.loads((ROOT / "results" / "prediction" / "ladders.json").read_text())
    fresh = json.loads((tmp_path / "ladders.json").read_text())
    assert [(row["ladder"], row["workers"], row["use"]) for row in stored] == [
        (row["ladder"], row["workers"], row["use"]) for row in fresh
    ]
    for old, new in zip(stored, fresh, strict=True):
        assert (old["predicted"] or 0) == pytest.approx(new["predicted"] or 0, rel=1e-3)


def test_a_known_machine_is_extended_within_its_interval() -> None:
    """Ladders of eight machines from the priors, made by the model itself: fitted on three sizes, judged on two."""
    machines = priors(np.random.default_rng(7), 8)
    setup = Setup(evenly(1e8), PATTERNS["fused"], 8)
    held = 0
    for number in range(8):
        machine = machines.take(np.array([number])).with_(per_image=np.array([0.01]))
        truth = setup.step(machine, [8, 16, 32, 64, 512], 32)[0]
        rows = [Observed(n, 32, float(t)) for n, t in zip((8, 16, 32), truth, strict=False)]
        made = fitted_to_ladder(setup, rows, np.random.default_rng(number))
        drawn = made.uncertain(setup.step(made.draws, [64, 512], 32), [64, 512], np.random.default_rng(number))
        low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
        held += int(((low <= truth[3:]) & (truth[3:] <= high)).sum())
    assert held >= 14, "of 16 intervals"


def test_nulls_are_exact_on_what_they_assume() -> None:
    rates = [float(10 * speedup("amdahl", [0.02], [n])[0]) for n in (1, 2, 4)]
    made = nulls([1, 2, 4], rates, 64)
    assert made["amdahl"] == pytest.approx(10 * speedup("amdahl", [0.02], [64])[0]) and made["linear"] == 640
    assert made["usl"] == pytest.approx(made["amdahl"]) and made["last efficiency"] == pytest.approx(rates[2] * 16)
    assert nulls([1, 2], rates[:2], 64)["usl"] is None


WRONG = {
    "zero": (("1,8,128,0,fit", *ROWS[1:]), "line 2: images_per_second: 0 is not a number above 0"),
    "gap": (("1,8,128,,fit", *ROWS[1:]), "line 2: images_per_second: is empty"),
    "word": ((*ROWS[:3], "many,8,128,9515,judge"), "line 5: workers: many is not a whole number above 0"),
    "not in order": ((ROWS[0], ROWS[2], ROWS[1], ROWS[3]), "workers: 8 comes after 16"),
    "use": ((*ROWS[:3], "32,8,128,9515,guess"), "line 5: use: guess is none of fit, judge, show"),
    "one host": ((*ROWS[:2], ROWS[3]), "no row that says fit has several hosts"),
    "too few": (ROWS[2:], "a fit needs two numbers of workers"),
    "no judge": (ROWS[:3], "no row says judge"),
    "within": ((*ROWS[:2], "12,8,128,4000,judge", ROWS[2]), "12 workers are to be judged and 16 to be fitted"),
    "hosts": ((*ROWS[:3], "32,4,128,9515,judge"), "workers_per_host: it changes from row to row"),
    "nothing": ((), "it has no rows"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_bad_ladder_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    rows, sentence = WRONG[name]
    file = written(tmp_path, *rows)
    with pytest.raises(UserError) as refused:
        score(file)
    assert str(refused.value).startswith(str(file)) and sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_column_or_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="column use is missing"):
        score(written(tmp_path, *ROWS, head=",".join(COLUMNS[:-1])))
    with pytest.raises(UserError, match="No such file"):
        score(tmp_path / "none.csv")
