"""Starts the ranks of a run and stays with them until the last has ended.

Commands are argv lists, never shell strings. A launch has a process group of its own: when it times out, is
interrupted, or this process dies, all of it goes.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from horovod_runner.allreduce.settings import needs_horovod
from horovod_runner.config import RunConfig
from horovod_runner.errors import UserError
from horovod_runner.store import RunFolder

GRACE_SECONDS = 10.0


@dataclass(frozen=True)
class Ended:
    """How a launch ended; `timed_out` when it was ended because its time was over."""

    code: int
    timed_out: bool = False


def launch(
    config: RunConfig, folder: RunFolder, *, timeout: float | None = None, log: IO[bytes] | None = None
) -> Ended:
    """Run all workers of the run in this folder to their end; their output goes to `log`, or to this terminal.

    UserError when there is no launcher for so many workers. KeyboardInterrupt passes through, with the ranks ended.
    """
    argv = command(config, [sys.executable, "-m", "horovod_runner.worker", str(folder.path)])
    process = subprocess.Popen(
        argv,
        env=environment(),
        stdout=log,
        stderr=None if log is None else subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )
    with _ended_at_exit(process):
        try:
            return Ended(process.wait(timeout))
        except subprocess.TimeoutExpired:
            return Ended(process.returncode or 1, timed_out=True)


def require_installed(config: RunConfig) -> None:
    """Raise UserError when a run's framework is missing, or Horovod where it is needed; nothing is imported."""
    for package in (config.framework, *(["horovod"] if needs_horovod(config) else [])):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"{config.framework} cannot be used here: {package} is not installed; run `make setup`")


def command(config: RunConfig, worker: list[str]) -> list[str]:
    """Return the argv that starts all workers of a run on this machine."""
    if config.workers == 1:
        return worker
    controller = config.allreduce.controller
    if controller == "auto":
        controller = "mpi" if find("mpirun") else "gloo"
    return _COMMANDS[controller](config.workers, worker)


def _mpirun(workers: int, worker: list[str]) -> list[str]:
    # As horovodrun calls it, less the seconds that horovodrun takes to get there. Ranks are not bound: threads are
    # placed by the worker, and Horovod's own thread needs to move.
    as_root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    placement = ["--bind-to", "none", "--map-by", "slot", "--oversubscribe"]
    return [_found("mpirun"), "-q", *as_root, *placement, "-np", str(workers), *worker]


def _horovodrun_gloo(workers: int, worker: list[str]) -> list[str]:
    return [_found("horovodrun"), "--gloo", "-np", str(workers), "-H", f"localhost:{workers}", *worker]


_COMMANDS = {"mpi": _mpirun, "gloo": _horovodrun_gloo}


def find(program: str) -> str | None:
    """Return the path of a program of this environment, or else of the PATH; None if there is none."""
    beside = Path(sys.prefix) / "bin" / program
    return str(beside) if beside.exists() else shutil.which(program)


def _found(program: str) -> str:
    path = find(program)
    if path is None:
        raise UserError(f"more than one worker needs {program}, which is not installed; run `make setup`")
    return path


def environment() -> dict[str, str]:
    """Return the environment of children: this one's programs come first, and its Open MPI is told where it lies."""
    variables = dict(os.environ)
    programs = Path(sys.prefix) / "bin"
    variables["PATH"] = os.pathsep.join([str(programs), variables.get("PATH", os.defpath)])
    variables["SUITE_JOB"] = uuid.uuid4().hex
    variables["PYTHONUNBUFFERED"] = "1"
    if (programs / "mpirun").exists():
        variables.setdefault("OPAL_PREFIX", sys.prefix)
    return variables


@contextlib.contextmanager
def _ended_at_exit(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Leave no rank behind: ask the whole group to end, and make it after a while."""
    try:
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _die_with_parent() -> None:
    """Ask the kernel to end this process when the one that started it dies, even by SIGKILL (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
