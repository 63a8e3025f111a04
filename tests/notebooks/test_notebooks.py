"""The notebooks run from top to bottom on fresh results, and draw what they say."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from horovod_runner.parity.rows import CLAIMS
from tests.made_results import add_failure, make_results

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
ALL = sorted(NOTEBOOKS.glob("*.ipynb"))


def execute(notebook: Path, results: Path, monkeypatch: pytest.MonkeyPatch) -> nbformat.NotebookNode:
    """Return the notebook with the outputs that these results give it."""
    monkeypatch.setenv("HOROVOD_RUNNER_RESULTS", str(results))
    monkeypatch.setenv("PYTHONPATH", str(notebook.parents[1]))
    read = nbformat.read(notebook, as_version=4)
    client = NotebookClient(read, timeout=300, resources={"metadata": {"path": str(notebook.parent)}})
    return client.execute()


def shown(notebook: nbformat.NotebookNode, kind: str) -> list[str]:
    """Return every output of a kind, in order."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output.data[kind] for output in outputs if kind in output.get("data", {})]


def test_loss_curves_of_both_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_results(tmp_path)
    add_failure(tmp_path, {"workload": "unet", "framework": "torch", "seed": 3}, "failed", "a reason")
    done = execute(NOTEBOOKS / "loss_curves.ipynb", tmp_path, monkeypatch)
    assert (
        len(shown(done, "image/png")) == 2 + 2 + 1 + 1
    )  # losses and differences of both jobs; every step, and throughput
    tables = " ".join(shown(done, "text/html"))
    for text in ("tensorflow", "torch", "resnet50", "unet", "failed", "TensorFlow − PyTorch", "efficiency", "2.21.0"):
        assert text in tables


def test_scaling_of_both_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the studies that the repository ships: both ways of scaling, four groups, each with its figures."""
    done = execute(NOTEBOOKS / "scaling.ipynb", NOTEBOOKS.parent / "results", monkeypatch)
    assert len(shown(done, "image/png")) == 4
    tables = " ".join(shown(done, "text/html"))
    for text in ("strong", "weak", "resnet50", "unet", "tensorflow", "torch", "speedup", "communication ms", "verdict"):
        assert text in tables


def test_the_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the study that the repository ships: it is there, and its figures and tables are drawn from it."""
    done = execute(NOTEBOOKS / "parity.ipynb", NOTEBOOKS.parent / "results", monkeypatch)
    assert len(shown(done, "image/png")) == 1 + 1 + 1
    tables = " ".join(shown(done, "text/html"))
    for text in (*CLAIMS.values(), "two one-sided tests", "horovod-runner parity"):
        assert text in tables


@pytest.mark.parametrize("notebook", ALL, ids=lambda path: path.stem)
def test_a_notebook_has_no_functions_of_its_own(notebook: Path) -> None:
    """Whatever is worth a function is worth a test, and lives in the package."""
    code = [cell.source for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
    assert not any("def " in source or "lambda" in source for source in code)
    assert max(len(source.splitlines()) for source in code) <= 10
