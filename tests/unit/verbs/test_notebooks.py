"""`make notebooks`: what it shows, and that it leaves the repository as it was."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nbformat
import pytest

from horovod_runner.analysis.load import tables
from horovod_runner.environment.install import KERNEL
from horovod_runner.verbs import notebooks
from tests.conftest import ROOT
from tests.made_results import make_results


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one notebook, and the folder that its copies go to."""
    (tmp_path / "notebooks").mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]), tmp_path / "notebooks" / "a.ipynb")
    monkeypatch.setattr(notebooks, "PROJECT", tmp_path)
    monkeypatch.setattr(notebooks, "COPIES", tmp_path / "own")
    return tmp_path / "own"


def test_a_copy_is_opened_and_what_was_edited_in_it_is_kept(copies: Path, capfd: pytest.CaptureFixture[str]) -> None:
    notebooks.copy_notebooks()
    assert capfd.readouterr().err == ""
    edited = json.loads((copies / "a.ipynb").read_text())
    edited["cells"][0]["source"] = ["2"]
    (copies / "a.ipynb").write_text(json.dumps(edited))
    notebooks.copy_notebooks()
    assert json.loads((copies / "a.ipynb").read_text()) == edited
    assert "a.ipynb differs from the repository's and is kept as it is" in capfd.readouterr().err


def test_a_folder_that_is_none_is_said_in_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "missing"
    assert notebooks.main(["--html", "--results", str(missing)]) == 2
    assert capfd.readouterr().err == (
        f"horovod-runner: RESULTS: {missing} is no folder; name one that `horovod-runner run` has filled\n"
    )


def test_one_s_own_study_is_shown_and_in_its_absence_the_committed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(tables.RESULTS, str(tmp_path))
    assert tables.results("warmup") == ROOT / "results" / "warmup"
    assert "warmup holds no finished runs: shown is what comes with the repository" in capsys.readouterr().out
    make_results(tmp_path)
    assert tables.results() == tmp_path
    assert tables.results("warmup") == ROOT / "results" / "warmup"
    capsys.readouterr()
    (name,) = {folder.name for folder in tmp_path.iterdir()}
    assert tables.results(name) == tmp_path / name
    assert capsys.readouterr().out == ""


def test_every_notebook_asks_for_the_suites_kernel_which_setup_has_described() -> None:
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert nbformat.read(notebook, as_version=4).metadata.kernelspec.name == KERNEL
    described = json.loads((ROOT / f".venv/share/jupyter/kernels/{KERNEL}/kernel.json").read_text())
    assert os.path.samefile(described["argv"][0], ROOT / ".venv/bin/python")
