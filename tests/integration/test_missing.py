"""What a run needs is missing: a framework, Horovod, or the means by which ranks find one another. One sentence says
so."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Done, bench_argv, plain_environment, program, run

# Python imports this at its start. Packages are not found as if they lay nowhere on the path.
HIDING = """
from importlib.machinery import PathFinder

find = PathFinder.find_spec

def find_others(name, path=None, target=None):
    return None if name.split(".")[0] in {hidden!r} else find(name, path, target)

PathFinder.find_spec = staticmethod(find_others)
"""
MPIRUN = ["--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-np", "2"]


def without(packages: list[str], folder: Path, **variables: str) -> dict[str, str]:
    """Return the environment of somebody who has not installed these packages."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(HIDING.format(hidden=packages))
    return plain_environment(PYTHONPATH=str(folder), **variables)


def assert_refused(done: Done, *words: str) -> None:
    """One sentence on standard error, exit code 2, and nothing left behind that looks like a run."""
    assert done.code == 2, done.err
    assert len(done.err.strip().splitlines()) == 1 and all(word in done.err for word in words), done.err
    assert not list(done.results.glob("*/*")), "a refused run leaves no folder"


@pytest.mark.usefixtures("real_ranks")
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("framework", ["tensorflow", "torch"])
def test_a_missing_framework_is_one_sentence(framework: str, workers: str, results: Path, tmp_path: Path) -> None:
    argv = bench_argv(framework, "unet", results, "--workers", workers)
    done = run(argv, results, env=without([framework], tmp_path / "site"))
    assert_refused(done, f"{framework} cannot be used here", f"{framework} is not installed", "make setup")


@pytest.mark.usefixtures("real_ranks")
def test_missing_horovod_is_one_sentence(results: Path, tmp_path: Path) -> None:
    done = run(bench_argv("torch", "unet", results, "--workers", "2"), results, env=without(["horovod"], tmp_path))
    assert_refused(done, "horovod is not installed", "make setup")


@pytest.mark.usefixtures("real_ranks")
def test_two_ranks_without_their_framework_say_it_once(results: Path, tmp_path: Path) -> None:
    environment = without(["tensorflow"], tmp_path, OPAL_PREFIX=str(Path(program("mpirun")).parent.parent))
    done = run([program("mpirun"), *MPIRUN, *bench_argv("tensorflow", "unet", results)], results, env=environment)
    assert done.code == 2 and done.err.count("horovod-runner:") == done.err.count("make setup") == 1, done.err


def test_one_framework_works_without_the_other(results: Path, tmp_path: Path) -> None:
    argv = bench_argv("torch", "unet", results, "--steps", "2")
    done = run(argv, results, env=without(["tensorflow", "keras"], tmp_path / "site"))
    assert done.code == 0 and done.folder.read_result().steps == 2, done.err


def test_the_doctor_names_what_is_missing(tmp_path: Path) -> None:
    packages = ["tensorflow", "torch", "horovod"]
    doctor = "import sys; from horovod_runner.cli import main; sys.exit(main(['doctor']))"  # keeps a PYTHONPATH
    done = run([sys.executable, "-c", doctor], ROOT, env=without(packages, tmp_path, COLUMNS="160"))
    assert done.code == 1 and "Traceback" not in done.out + done.err, done.out + done.err
    for package in packages:
        assert f"No module named '{package}'" in done.out, done.out
    assert "A run could not work here: tensorflow, torch, Horovod for tensorflow" in done.out


def test_srun_without_pmix_is_refused(results: Path) -> None:
    """The variables of `srun -n 2` are enough; Open MPI would end every rank with a page of its own."""
    slurm = {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": "0", "SLURM_STEP_TASKS_PER_NODE": "2"}
    done = run(bench_argv("torch", "unet", results), results, env=plain_environment(**slurm))
    assert_refused(done, "srun started 2 workers", "srun --mpi=pmix")


def test_a_launcher_of_another_mpi_is_noticed(results: Path) -> None:
    """Its ranks would each train alone and take themselves for two."""
    foreign = {"PMI_RANK": "0", "PMI_SIZE": "2", "MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "2"}
    done = run(bench_argv("torch", "unet", results, "--steps", "2"), results, env=plain_environment(**foreign))
    assert done.code == 2 and "mpiexec started 2 workers, but Horovod finds 1" in done.err, done.err
    assert done.err.count("horovod-runner:") == 1 and "Traceback" not in done.err
