"""A framework is in one place: a third one is a package of its own, a row, and a model of some job.

The tree is copied, and the copy gets what lies in `third_framework` (NumPy, with gradients by hand, and a job of two
dense layers) and a row in each table; nothing else is touched.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from horovod_runner.results.store import Store
from tests.conftest import ROOT, losses, plain_environment

pytestmark = pytest.mark.usefixtures("real_ranks")

FRAMEWORK = """
    Framework(
        name="by_hand",
        title="NumPy by hand",
        package="numpy",
        distributions={"numpy": ("numpy",)},
        colour="#117733",
        dark="#66cc88",
        marker="^",
        transports=("mpi",),
    ),
"""
JOB = """
    "dense": Workload(
        name="dense",
        task="classification",
        data="digits",
        channels=1,
        width=32,
        local_batch=16,
        epochs=1,
        optimizer="sgd",
        learning_rates={"sgd": 0.02},
    ),
"""
TABLES = {
    "horovod_runner/config/frameworks.py": ("_ROWS = (\n", FRAMEWORK),
    "benchmarks/workloads.py": ("WORKLOADS: dict[str, Workload] = {\n", JOB),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree with a third framework."""
    copy = tmp_path_factory.mktemp("tree")
    for room in ("horovod_runner", "benchmarks"):
        shutil.copytree(ROOT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(Path(__file__).parent / "third_framework", copy, dirs_exist_ok=True)
    for file, (head, row) in TABLES.items():
        text = (copy / file).read_text()
        assert text.count(head) == 1
        (copy / file).write_text(text.replace(head, head + row.removeprefix("\n")))
    return copy


def runner(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a verb of the copy."""
    return subprocess.run(
        [sys.executable, "-m", "horovod_runner", *words],
        cwd=tree,
        env=plain_environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def bench(tree: Path, results: Path, workers: int) -> list[float]:
    """Return the losses of a run of the third framework, which learns digits."""
    words = ["--framework", "by_hand", "--workload", "dense", "--global-batch", "32", "--epochs", "2"]
    words += ["--workers", str(workers), "--set", "strategy=blocking", "--set", "precision=float64"]
    done = runner(tree, "bench", *words, "--results", str(results))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    found = {(result := folder.read_result()).workers: (result, folder) for folder in Store(results).finished()}
    result, folder = found[workers]
    assert (result.framework, result.workload, result.status) == ("by_hand", "dense", "completed")
    return losses(folder)


def test_a_third_framework_trains_and_two_workers_do_what_one_does(tree: Path, results: Path) -> None:
    two, one = bench(tree, results, 2), bench(tree, results, 1)
    assert two == pytest.approx(one, rel=1e-9), "the mean of two halves' gradients is the gradient of the whole"
    assert two[0] > 2.0 and sum(two[-10:]) / 10 < 0.7, "from chance (log 10 = 2.3) to something learnt"
    reported = runner(tree, "report", str(results))
    assert reported.returncode == 0, reported.stderr
    assert "NumPy by hand" in Path(reported.stdout.splitlines()[-1]).read_text()


@pytest.mark.parametrize(
    "options, sentence",
    [
        (
            ["--workload", "unet"],
            "bench: workload: unet has no model in NumPy by hand; choose one of dense",
        ),
        (
            ["--workload", "dense"],
            "bench: strategy: fused is carried by Horovod, which NumPy by hand does without; choose blocking",
        ),
    ],
)
def test_what_it_does_not_have_is_refused_in_a_sentence(tree: Path, options: list[str], sentence: str) -> None:
    both = [*options, "--set", "strategy=blocking"] if "unet" in options else options
    done = runner(tree, "bench", "--framework", "by_hand", "--workers", "2", *both)
    assert (done.returncode, done.stderr) == (2, f"horovod-runner: {sentence}\n")
