"""Results that another version began: read as they are, refused by whoever would go on among them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet
import pytest

from horovod_runner import cli
from horovod_runner.analysis.load import tables
from horovod_runner.analysis.load.pack import PROVENANCE, RUNS, STEPS, read_packed
from horovod_runner.config.identity import SCHEMA
from horovod_runner.results.store import RunFolder, read_json
from tests.made_results import add_run

RESULTS = Path(__file__).parents[3] / "results"
STUDIES = [file.parent for file in sorted(RESULTS.glob("*/runs.parquet"))]
EXPERIMENT = """
description: Two seeds.
base: {workload: resnet50, epochs: 3, strategy: fused}
axes: {framework: [torch], seed: [0, 1]}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(EXPERIMENT)
    return path


def made(results: Path, seed: int) -> RunFolder:
    return add_run(results, {"framework": "torch", "workload": "resnet50", "experiment": "study", "seed": seed})


def aged(folder: RunFolder, number: int | None) -> RunFolder:
    """Make a run one of another schema, or of before there were numbers: its name is another one's."""
    plain = json.loads(folder.config_file.read_text())
    del plain["schema"]
    plain = plain if number is None else {"schema": number, **plain}
    older = RunFolder(folder.path.with_name(folder.path.name[:-10] + "0123456789"))
    result = json.loads(folder.result_file.read_text()) | {"run_id": older.path.name}
    folder.path.rename(older.path)
    older.config_file.write_text(json.dumps(plain))
    older.result_file.write_text(json.dumps(result))
    return older


@pytest.mark.parametrize("number", [None, SCHEMA + 1])
@pytest.mark.parametrize("finished", [True, False])
def test_nothing_is_done_beside_runs_of_another_version(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int | None, finished: bool
) -> None:
    results = tmp_path / "results"
    made(results, seed=0)
    older = aged(made(results, seed=1), number)
    if not finished:
        older.result_file.unlink()
    there = sorted(results.rglob("*"))
    bench = ["bench", "--framework", "torch", "--set", "experiment=study"]
    for words in (["plan", str(file)], ["run", str(file)], bench):
        assert cli.main([*words, "--results", str(results)]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and str(results / "study") in said, said
        assert older.path.name in said and "--results" in said and "version that began them" in said
    assert sorted(results.rglob("*")) == there


def test_they_are_read_as_they_are(tmp_path: Path) -> None:
    older = [aged(made(tmp_path / number, seed), None) for number, seed in (("a", 0), ("b", 1))]
    runs = [run for folder in older for run in tables.read(folder.path.parent)]
    assert [run.result.run_id for run in runs] == [folder.path.name for folder in older]
    assert [run.config.seed for run in runs] == [0, 1]
    assert cli.main(["report", str(tmp_path / "a"), "--out", str(tmp_path / "page")]) == 0
    assert (tmp_path / "page" / "report.html").exists()


def test_runs_of_today_are_gone_on_with(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also beside runs that the file no longer asks for, folders that are no run's, and what is damaged."""
    results = tmp_path / "results"
    for seed in (0, 7):
        made(results, seed)
    (results / "study" / "figures").mkdir()
    damaged = results / "study" / "damaged"
    damaged.mkdir()
    (damaged / "config.json").write_text("{")
    assert cli.main(["plan", str(file), "--results", str(results)]) == 0
    assert "2 runs, 1 to do" in capsys.readouterr().out


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_committed_studies_are_named_by_today(study: Path) -> None:
    """Runs, steps and provenance alike: whoever raises the schema's number carries them over."""
    runs = read_packed(study)
    names = {run.result.run_id for run in runs}
    assert names == {run.config.run_id for run in runs} and len(names) == len(runs)
    assert names == {*pyarrow.parquet.read_table(study / STEPS, columns=["run_id"])["run_id"].to_pylist()}
    assert names == read_json(study / PROVENANCE)["runs"].keys()
    texts = pyarrow.parquet.read_table(study / RUNS, columns=["run_id", "config_json"]).to_pylist()
    assert names == {row["run_id"] for row in texts}
    assert {json.loads(row["config_json"])["schema"] for row in texts} == {SCHEMA}
