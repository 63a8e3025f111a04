"""What tests of every kind share: the suite's own programs, run as a user runs them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from horovod_runner.launch.launchers import find
from horovod_runner.results.store import RunFolder, Store

pytest_plugins = ("tests.phases",)
# Both frameworks live in one process here, which no run does. PyTorch with CUDA brings Triton, whose LLVM and
# TensorFlow's do not go together: the process dies. Set before either framework is imported.
sys.modules.setdefault("triton", None)  # type: ignore[arg-type]  # None halts an import
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
ROOT = Path(__file__).parent.parent
# The smallest jobs that are still the real ones: every layer, few channels.
SMALL = {
    "resnet50": ["--set", "width=8", "--set", "zero_init_last_gamma=true", "--local-batch", "8"],
    "unet": ["--workload", "unet", "--set", "width=4", "--set", "data.examples=64", "--local-batch", "4"],
}


@dataclass(frozen=True)
class Done:
    """A finished command: its exit code, what it said, and where its results are."""

    code: int
    out: str
    err: str
    results: Path

    @property
    def folders(self) -> list[RunFolder]:
        """Return the finished runs."""
        return list(Store(self.results).finished())

    @property
    def folder(self) -> RunFolder:
        """Return the only finished run."""
        assert len(self.folders) == 1, f"{len(self.folders)} results\n{self.out}\n{self.err}"
        return self.folders[0]


def program(name: str) -> str:
    """Return a program of the environment that the tests run in."""
    path = find(name)
    assert path is not None, f"{name} is missing; run `make setup`"
    return path


def plain_environment(**changes: str) -> dict[str, str]:
    """Return the environment of somebody who has activated nothing, whatever other tests have set in this process."""
    ours = ("OMPI_", "HOROVOD_", "PMIX_", "SUITE_", "TF_CPP_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    return {**environment, **changes}


def run(argv: Sequence[str], results: Path, timeout: float = 500, env: Mapping[str, str] | None = None) -> Done:
    """Run a command in the project's root to its end."""
    done = subprocess.run(
        argv, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False, env=env or plain_environment()
    )
    return Done(done.returncode, done.stdout, done.stderr, results)


def bench_argv(framework: str, workload: str, results: Path, *options: str) -> list[str]:
    """Return the command of one small run."""
    words = ["bench", "--framework", framework, "--results", str(results), "--set", "threads=1"]
    return [sys.executable, "-m", "horovod_runner", *words, *SMALL[workload], *options]


def bench(framework: str, workload: str, results: Path, *options: str) -> Done:
    """Do one small run."""
    return run(bench_argv(framework, workload, results, *options), results)


def losses(folder: RunFolder) -> list[float]:
    """Return the training loss of every step."""
    return [step.train_loss for step in folder.read_steps()]


def workers_of(process: subprocess.Popen[Any], module: str = "worker") -> list[psutil.Process]:
    """Return the ranks below a process, or the workers of its pool."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a launcher's short helpers may end while they are looked at
            if child.cmdline()[1:3] == ["-m", f"horovod_runner.training.{module}"]:
                found.append(child)
    return found


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """Return the temporary folder that the processes of a phase share: what takes long is made there once for all."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Keep the other processes of a phase out, waiting for them if need be."""
    with file.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """An empty folder of results."""
    return tmp_path / "results"
