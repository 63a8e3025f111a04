"""A renamed experiment is the same one under another name: nothing is lost, done again or counted twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from horovod_runner.analysis.load import tables
from horovod_runner.analysis.load.pack import pack
from horovod_runner.cli import main
from horovod_runner.config.schema import RunConfig
from horovod_runner.matrix.experiment import load_experiment, runs
from horovod_runner.results.checkpoint import Checkpoints
from horovod_runner.results.store import Store, claimed
from tests.made_results import add_run

TEXT = "description: a question\nbase: {epochs: 3, strategy: fused}\naxes: {framework: [torch], seed: [0, 1]}\n"
WEIGHTS = {"weight": np.arange(3, dtype=np.float32)}
SHAPES = {"weight": (3,)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An experiment of two runs: the first is done, the second has a saved state."""
    path = tmp_path / "old.yaml"
    path.write_text(TEXT)
    done, begun = runs(load_experiment(path), path)
    add_run(tmp_path / "results", {"framework": "torch", "experiment": "old", "seed": done.seed})
    folder = Store(tmp_path / "results").open_run(begun)
    Checkpoints(folder.checkpoints, 2).save(7, WEIGHTS, begun)
    (tmp_path / "results" / "old" / "experiment.json").write_text('{"schema": 1, "stated": "2026-01-02"}')
    return path


def configs(file: Path) -> list[RunConfig]:
    return runs(load_experiment(file), file)


def test_file_folder_and_records_move_together(file: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    before = tables.read(tmp_path / "results")[0].result
    assert main(["rename", str(file), "new", "--results", str(store.root)]) == 0
    assert not file.exists() and not (store.root / "old").exists()
    renamed = tmp_path / "new.yaml"
    assert renamed.read_text() == TEXT and "2026-01-02" in (store.root / "new" / "experiment.json").read_text()
    done, begun = configs(renamed)
    assert store.folder(done).done and not store.folder(begun).done, "the same matrix goes on"
    result = store.folder(done).read_result()
    assert result == before.model_copy(update={"experiment": "new", "run_id": done.run_id})
    state = Checkpoints(store.folder(begun).checkpoints, 2)
    assert state.steps() == [7] and (state.load(7, begun, SHAPES)["weight"] == WEIGHTS["weight"]).all()
    assert [run.experiment for run in tables.read(store.root)] == ["new"]
    assert sorted(path.name for path in store.root.iterdir()) == ["new"]


def test_a_packed_study_is_renamed_by_its_folder(file: Path, tmp_path: Path) -> None:
    study = tmp_path / "results" / "old"
    pack(study)
    assert main(["rename", str(study), "new"]) == 0
    assert {run.experiment for run in tables.read(tmp_path / "results")} == {"new"} and file.exists()


def test_what_cannot_be_renamed_is_said_and_left(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = str(tmp_path / "results")

    def refusal(*argv: str) -> str:
        assert main(["rename", *argv, "--results", results]) == 2
        return capsys.readouterr().err

    assert "is no name of an experiment" in refusal(str(file), "a b")
    assert "neither an experiment file nor the folder of a study" in refusal(str(tmp_path / "none"), "new")
    (tmp_path / "results" / "new").mkdir()
    assert "is there already" in refusal(str(file), "new")
    with claimed(tmp_path / "results" / "old" / ".runner-here"):
        assert "is being worked on" in refusal(str(file), "newer")
    assert file.exists() and len(list((tmp_path / "results" / "old").glob("*/config.json"))) == 2
    assert not (tmp_path / "results" / "newer").exists()
