"""Packing a study loses nothing, and what is packed reads like what is loose."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas
import pyarrow.parquet
import pytest

from horovod_runner.analysis.load import tables
from horovod_runner.analysis.load.pack import pack, predictions, read_packed
from horovod_runner.errors import UserError
from horovod_runner.results.predictions import write_predictions
from tests.made_results import add_failure, add_run, make_results

FAILED = {"workload": "unet", "framework": "torch", "workers": 2, "seed": 5}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Eight completed runs, one that failed and one that diverged, in an experiment's folder."""
    make_results(tmp_path)
    add_failure(tmp_path, FAILED, "failed", "rank 1 was ended by signal 9")
    folder = add_run(tmp_path, FAILED | {"seed": 6}, status="diverged", train_loss=(1.0, math.nan), error="nan")
    line = folder.read_steps()[-1].model_copy(update={"step": 61, "epoch": 4, "train_loss": math.nan})
    folder.append_steps([line.model_copy(update={"val_loss": math.inf, "val_metric": None})])
    return tmp_path / "bench"


def delete_loose(study: Path) -> None:
    """Remove the folders of the runs, and leave what is packed."""
    for folder in study.glob("*/"):
        shutil.rmtree(folder)


def test_round_trip_loses_nothing(study: Path) -> None:
    before = {name: getattr(tables, name)(study) for name in ("runs", "steps", "epochs")}
    loose = tables.read(study)
    files = pack(study)
    assert [file.name for file in files] == ["steps.parquet", "provenance.json", "runs.parquet"]
    packed = read_packed(study)
    assert [(r.config, r.provenance) for r in packed] == [(r.config, r.provenance) for r in loose]
    assert [r.result.to_json() for r in packed] == [r.result.to_json() for r in loose]
    delete_loose(study)
    for name, table in before.items():
        after = getattr(tables, name)(study)
        for losses in (table, after):  # NaN in a tuple equals nothing, not even itself
            losses["train_loss"] = losses["train_loss"].map(repr)
        pandas.testing.assert_frame_equal(table, after, check_exact=True)


def test_predictions_are_packed_and_read_like_loose_ones(study: Path) -> None:
    runs = [run for run in tables.read(study) if run.result.workload == "resnet50"]
    for number, run in enumerate(runs):
        targets, predicted = np.array([[1, 2], [3, -1]]), np.array([[1, 2], [number, -1]])
        write_predictions(run.folder / "predictions.npz", 60, targets, predicted)
    assert pack(study)[0].name == "predictions.parquet"
    delete_loose(study)
    kept = {run.result.run_id: predictions(run) for run in tables.read(study, packed=True)}
    assert sum(one is not None for one in kept.values()) == len(runs) == 4
    for number, run in enumerate(runs):
        one = kept[run.result.run_id]
        assert one is not None and one.step == 60
        assert [column.tolist() for column in one[1:]] == [[0, 1, 2], [1, 3, 2], [1, number, 2]]
    add_run(study.parent, {"workload": "unet", "framework": "torch", "seed": 78})
    pack(study)
    assert len(pyarrow.parquet.read_table(study / "predictions.parquet")) == 12, "those packed before stay"


def test_a_study_packed_before_a_column_existed_takes_new_runs(study: Path) -> None:
    pack(study)
    older = pyarrow.parquet.read_table(study / "steps.parquet").drop_columns(["batch"])
    pyarrow.parquet.write_table(older, study / "steps.parquet")
    for folder in sorted(study.glob("*-s0r0-*"))[1:]:
        shutil.rmtree(folder)
    pack(study)
    steps = pyarrow.parquet.read_table(study / "steps.parquet")
    assert len(steps) == len(older)
    assert 0 < steps["batch"].null_count < len(steps)


def test_missing_and_not_a_number_stay_apart(study: Path) -> None:
    pack(study)
    delete_loose(study)
    (diverged,) = (run for run in tables.read(study) if run.result.status == "diverged")
    assert math.isnan(diverged.result.train_loss[1])
    (failed,) = (run for run in tables.read(study) if run.result.status == "failed")
    assert failed.result.images_per_second is None


def test_runs_parquet_opens_with_pandas_alone(study: Path) -> None:
    pack(study)
    table = pandas.read_parquet(study / "runs.parquet")
    assert set(table.workers) == {1, 2}
    assert table["images_per_second.mean"].notna().sum() == 9
    assert json.loads(table.config_json[0])["schedule"]["warmup_epochs"] == table["schedule.warmup_epochs"][0]


def test_loose_runs_take_the_place_of_packed_ones(study: Path) -> None:
    pack(study)
    delete_loose(study)
    add_run(study.parent, {"workload": "unet", "framework": "torch", "seed": 77}, machine="another")
    assert [run.result.seed for run in tables.read(study.parent)] == [77]
    assert len(tables.read(study.parent, packed=True)) == 11
    assert set(tables.runs(study, packed=True).machine) == {"another", "3f9c2a"}


def test_packing_again_keeps_what_was_packed_and_replaces_what_was_done_again(study: Path) -> None:
    pack(study)
    delete_loose(study)
    again = add_run(study.parent, FAILED)
    add_run(study.parent, {"workload": "unet", "framework": "torch", "seed": 77})
    pack(study)
    delete_loose(study)
    runs = {run.result.run_id: run for run in tables.read(study)}
    assert len(runs) == 11
    assert runs[again.path.name].completed
    assert set(tables.steps(study).run_id) == set(runs)


def test_what_an_earlier_version_packed_is_replaced_under_its_new_name(study: Path) -> None:
    for folder in study.glob("*/"):
        older = folder.rename(folder.with_name(f"{folder.name[:-10]}0123456789"))
        result = json.loads((older / "result.json").read_text()) | {"run_id": older.name}
        (older / "result.json").write_text(json.dumps(result))
    pack(study)
    delete_loose(study)
    again = add_run(study.parent, FAILED)
    assert len(tables.read(study.parent, packed=True)) == 10
    pack(study)
    delete_loose(study)
    runs = {run.result.run_id: run for run in tables.read(study)}
    assert len(runs) == 10 and runs[again.path.name].completed
    assert set(tables.steps(study).run_id) == set(runs)


def test_experiments_packed_and_loose_are_read_together(study: Path) -> None:
    pack(study)
    delete_loose(study)
    add_run(study.parent, {"experiment": "other", "workload": "unet", "framework": "torch"})
    assert tables.runs(study.parent).experiment.value_counts().to_dict() == {"bench": 10, "other": 1}
    assert tables.steps(study.parent).experiment.nunique() == 2


def test_damage_is_named(study: Path) -> None:
    pack(study)
    delete_loose(study)
    runs = study / "runs.parquet"
    runs.write_bytes(runs.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"runs\.parquet cannot be read"):
        tables.read(study)


def test_nothing_to_pack(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no finished run to pack"):
        pack(tmp_path)


def test_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no finished run; make some with: make bench"):
        tables.runs(tmp_path)
