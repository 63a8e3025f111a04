"""The notebooks run from top to bottom on fresh results, and draw what they say."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import pytest
from nbclient import NotebookClient
from traitlets.config import Config

from horovod_runner.parity.rows import CLAIMS
from tests.conftest import alone, shared_folder
from tests.made_results import add_failure, add_timed, make_results

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
ALL = sorted(NOTEBOOKS.glob("*.ipynb"))
STUDIES = ("bench", "gap", "noise", "small-data", "steps-to-target", "strong", "warmup", "weak")
TOLD = ("text/html", "text/markdown")
Executed = Callable[[str], nbformat.NotebookNode]


def execute(notebook: Path, results: Path) -> nbformat.NotebookNode:
    """Return the notebook with the outputs that these results give it.

    The kernel speaks through sockets in a folder of its own: a free port may be somebody else's before it is taken.
    """
    read = nbformat.read(notebook, as_version=4)
    with TemporaryDirectory() as own:
        env = os.environ | {"HOROVOD_RUNNER_RESULTS": str(results), "PYTHONPATH": str(notebook.parents[1])}
        env |= {"IPYTHONDIR": own, "JUPYTER_RUNTIME_DIR": own}
        sockets = Config({"KernelManager": {"transport": "ipc", "ip": f"{own}/kernel"}})
        where = {"metadata": {"path": str(notebook.parent)}}
        return NotebookClient(read, timeout=300, startup_timeout=300, resources=where, config=sockets).execute(env=env)


@pytest.fixture(scope="session")
def from_shipped(tmp_path_factory: pytest.TempPathFactory) -> Executed:
    """Return what executes a notebook on the studies that the repository ships, once for all tests and processes.

    `results` may have studies of one's own beside them.
    """
    folder = shared_folder(tmp_path_factory) / "notebooks"
    studies = folder / "shipped"
    studies.mkdir(parents=True, exist_ok=True)

    @cache
    def executed(name: str) -> nbformat.NotebookNode:
        stored = folder / f"{name}.ipynb"
        with alone(folder / f"{name}.lock"):
            if not stored.exists():
                done = execute(NOTEBOOKS / f"{name}.ipynb", studies)
                stored.write_text(nbformat.writes(done))
        return nbformat.read(stored, as_version=4)

    with alone(folder / "shipped.lock"):
        for name in STUDIES:
            if not (studies / name).exists():
                (studies / name).symlink_to(NOTEBOOKS.parent / "results" / name)
    return executed


def shown(notebook: nbformat.NotebookNode, *kinds: str) -> list[str]:
    """Return every output of these kinds, in order."""
    data = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    return [made[kind] for made in data for kind in kinds if kind in made]


def intervals(text: str) -> list[str]:
    """Return every figure with its interval that a text quotes, as `1.2 [0.9, 1.5]`."""
    return re.findall(r"[-+]?[\d.,]*\d \[[^\]]+\]", " ".join(text.split()))


def test_loss_curves_of_both_jobs(tmp_path: Path) -> None:
    make_results(tmp_path)
    add_failure(tmp_path, {"workload": "unet", "framework": "torch", "seed": 3}, "failed", "a reason")
    done = execute(NOTEBOOKS / "loss_curves.ipynb", tmp_path)
    assert (
        len(shown(done, "image/png")) == 2 + 2 + 1 + 1
    )  # losses and differences of both jobs; every step, and throughput
    tables = " ".join(shown(done, "text/html"))
    for text in ("tensorflow", "torch", "resnet50", "unet", "failed", "TensorFlow − PyTorch", "efficiency", "2.21.0"):
        assert text in tables


def test_scaling_of_both_jobs(tmp_path: Path) -> None:
    """On the studies that the repository ships: strong and weak scaling, four groups, each with its figures."""
    done = execute(NOTEBOOKS / "scaling.ipynb", NOTEBOOKS.parent / "results")
    assert len(shown(done, "image/png")) == 4
    tables = " ".join(shown(done, "text/html"))
    for text in ("strong", "weak", "resnet50", "unet", "tensorflow", "torch", "speedup", "communication ms", "verdict"):
        assert text in tables


def test_strategies(tmp_path: Path) -> None:
    """On made runs: blocking is clearly the fastest in one framework; what is exposed is over compute-only workers."""
    seconds = {"none": 0.40, "blocking": 0.45, "fused": 0.60, "unfused": 0.70, "multistep": 0.50}
    for repeat in range(3):
        for framework, factor in (("torch", 1.0), ("tensorflow", 1.1)):
            for workload in ("resnet50", "unet"):
                raw = {"workload": workload, "framework": framework, "experiment": "overlap", "repeat": repeat}
                for strategy, step in seconds.items():
                    clock = step * factor * (1 + 0.002 * repeat)
                    add_timed(tmp_path, {**raw, "workers": 2, "strategy": strategy}, [clock, clock])
                add_timed(tmp_path, {**raw, "workers": 1, "strategy": "none"}, [0.38 * factor])
    done = execute(NOTEBOOKS / "overlap.ipynb", tmp_path)
    assert len(shown(done, "image/png")) == 1
    images, exposed, best, overlap = shown(done, "text/html")[1:5]
    assert "0.889" in images, "blocking reaches 0.40 / 0.45 of the compute-only workers"
    assert "communication ms" in exposed and "0.333" in exposed, "a third of the fused step is exposed"
    assert best.count("<td>blocking</td>") == 4 and best.count("<td>True</td>") == 4 and "1.333" in best
    assert overlap.count("0.900") == 4 or overlap.count("0.9<") == 4, "multistep is the fastest that overlaps"


def test_the_proof(tmp_path: Path) -> None:
    """On the study that the repository ships: it is there, and its figures and tables are drawn from it."""
    done = execute(NOTEBOOKS / "parity.ipynb", NOTEBOOKS.parent / "results")
    assert len(shown(done, "image/png")) == 1 + 1
    tables = " ".join(shown(done, "text/html"))
    claims = [title for claim, title in CLAIMS.items() if claim != "finished"]  # of this there is a row in ruins only
    for text in (*claims, "horovod-runner parity"):
        assert text in tables


def test_a_prediction_is_told_with_its_errors() -> None:
    """On the ladders and the study that the repository ships: what was never seen, the nulls, and two jobs."""
    done = execute(NOTEBOOKS / "prediction.ipynb", NOTEBOOKS.parent / "results")
    assert len(shown(done, "image/png")) == 1 + 2
    told = " ".join(shown(done, *TOLD))
    for text in ("lee-resnet50-knl", "last_efficiency_error", "Rule of thumb", "ResNet-50", "U-Net"):
        assert text in told


SHIPPED = {  # figures, and words of the tables or sentences, of notebooks that read the studies of the repository
    "warmup": (
        3,
        (
            "the best of 0, 5, 10, 20 epochs",
            "the minimum, in epochs, is",
            "each rule with the warmup that suits it best",
        ),
    ),
    "small_data": (1, ("share of runs that converge", "weak, warmup 10", "strong")),
    "batch_limits": (3, ("S_min", "the least time to target", "B_simple is", "times as much")),
    "frameworks": (1 + 3, ("TensorFlow less PyTorch", "of the settings alone", "two one-sided t-tests")),
    "gap": (1, ("square root, ghost BN", "TensorFlow, against large batch", "PyTorch, against large batch")),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_study_is_told_from_its_runs(name: str, from_shipped: Executed) -> None:
    """The runs say today what the notebook shows, to the digit."""
    figures, texts = SHIPPED[name]
    fresh, stored = from_shipped(name), nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    assert len(shown(fresh, "image/png")) == len(shown(stored, "image/png")) == figures
    assert all(text in " ".join(shown(fresh, *TOLD)) for text in texts)
    assert shown(stored, *TOLD) == shown(fresh, *TOLD), f"execute notebooks/{name}.ipynb again"


@pytest.mark.parametrize("name", SHIPPED)
def test_every_interval_of_a_conclusion_is_one_that_the_runs_gave(name: str, from_shipped: Executed) -> None:
    """Conclusions are written by hand: what they quote has to stand, to the digit, in an output above them."""
    notebook = from_shipped(name)
    told = " ".join(shown(notebook, *TOLD))
    (conclusions,) = (cell.source for cell in notebook.cells if cell.source.startswith("## What follows"))
    quoted = intervals(conclusions)
    assert quoted, "a conclusion names the interval that it rests on"
    assert [interval for interval in quoted if interval not in told] == []


def test_the_readme_quotes_what_the_notebooks_show(from_shipped: Executed) -> None:
    """What the front page says of the studies stands, to the digit, in what the runs give one of their notebooks."""
    readme = (NOTEBOOKS.parent / "README.md").read_text()
    front = readme[readme.index("## What it says so far") : readme.index("## The command line")]
    told = " ".join(text for name in SHIPPED for text in shown(from_shipped(name), *TOLD))
    quoted = intervals(front)
    assert len(quoted) >= 5 and [interval for interval in quoted if interval not in told] == []


@pytest.mark.parametrize("notebook", ALL, ids=lambda path: path.stem)
def test_a_notebook_has_no_functions_of_its_own(notebook: Path) -> None:
    """Whatever is worth a function is worth a test, and lives in the package."""
    code = [cell.source for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
    assert not any("def " in source or "lambda" in source for source in code)
    assert max(len(source.splitlines()) for source in code) <= 10
