"""Starts the ranks of a run and stays with them until the last has ended, or until they show no more progress.

Commands are argv lists, never shell strings. A launch has a process group of its own: when it times out, is
interrupted, or this process dies, all of it goes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from horovod_runner.config.frameworks import FRAMEWORKS
from horovod_runner.config.machine import Machine
from horovod_runner.config.schema import RunConfig
from horovod_runner.launch import interrupts
from horovod_runner.launch.emulated.cluster import on_hosts
from horovod_runner.launch.launchers import Start, command
from horovod_runner.machine.process import LOGGED, TOLD, use_own_mpi
from horovod_runner.results.store import RunFolder
from horovod_runner.training.timing import Clock

GRACE_SECONDS = 10.0
LOOK_SECONDS = 2.0
TOLD_SECONDS = 0.2
THIS_MACHINE = Machine()
_OURS = (
    LOGGED,
    TOLD,
    "PYTHONUTF8",
    "PATH",
    "OPAL_PREFIX",
    "PYTHONUNBUFFERED",
    "PYTHONPATH",
    "SUITE_JOB",
    "SUITE_COMMAND",
)

# By these a launcher tells Horovod's ranks how they meet: what a shell says of it is of another launch.
_OF_LAUNCHERS = {f"HOROVOD_{kind}{what}" for kind in ("", "LOCAL_", "CROSS_") for what in ("RANK", "SIZE")}
_OF_LAUNCHERS |= {f"HOROVOD_{what}" for what in ("CONTROLLER", "CPU_OPERATIONS", "ELASTIC", "HOSTNAME")}
_OF_LAUNCHERS |= {f"HOROVOD_GLOO_RENDEZVOUS_{what}" for what in ("ADDR", "PORT")}
_OF_LAUNCHERS.add("LSB_JOBID")  # where this is, horovodrun asks LSF for what it was told, and breaks down


@dataclass(frozen=True)
class Ended:
    """How a launch ended; `given_up` says why it was ended, if it was."""

    code: int
    given_up: str | None = None


def launch(
    config: RunConfig,
    folder: RunFolder,
    log: IO[bytes],
    *,
    machine: Machine = THIS_MACHINE,
    tell: Callable[[str], None] | None = None,
) -> Ended:
    """Run all workers of the run in this folder to their end.

    What they and their launcher print goes to `log`; `tell` is called with each line that rank 0 has for the user.
    UserError when there is no launcher for so many workers, or no emulated hosts where the run asks for them.
    KeyboardInterrupt passes through, with the ranks ended.
    """
    with on_hosts(config, machine) as place:
        return _launch(config, folder, log, place, tell)


def _launch(
    config: RunConfig, folder: RunFolder, log: IO[bytes], machine: Machine, tell: Callable[[str], None] | None
) -> Ended:
    told = None if tell is None else Told(folder.told_file, tell)
    variables = environment(machine) | {LOGGED: "1"} | ({} if told is None else {TOLD: str(told.file.absolute())})
    passed_on = passed_to_hosts(variables, machine)
    worker = [sys.executable, "-m", "horovod_runner.training.worker", str(folder.path)]
    argv = command(config, worker, Start(config.workers, machine, passed_on, tagged=True))
    with told or contextlib.nullcontext(), started(argv, variables, log) as process:
        watchdog = Watchdog(machine, folder)
        while True:
            try:
                return Ended(process.wait(LOOK_SECONDS if told is None else TOLD_SECONDS))
            except subprocess.TimeoutExpired:
                interrupts.check()
                why = watchdog.over()
            if told is not None:
                told.pass_on()
            if why is not None:
                return Ended(process.returncode or 1, given_up=why)


@contextlib.contextmanager
def started(argv: Sequence[str], variables: Mapping[str, str], log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command in a process group of its own, of which nothing is left behind, however this ends.

    What it prints goes to the log.
    """
    process = subprocess.Popen(
        argv,
        env=variables,
        stdout=log,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )
    with _ended_at_exit(process):
        yield process


@contextlib.contextmanager
def conversing(argv: Sequence[str], variables: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command as `started` does, which is told what to do by a pipe, and answers by another."""
    process = subprocess.Popen(
        argv,
        env=variables,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )
    with process, _ended_at_exit(process):
        yield process


class Told:
    """Passes on what rank 0 has for the user: whole lines of a file, which it may write to on another host."""

    def __init__(self, file: Path, tell: Callable[[str], None]) -> None:
        self.file, self._tell, self._passed = file, tell, 0
        file.unlink(missing_ok=True)

    def pass_on(self) -> None:
        """Tell the lines that have come since the last time."""
        lines = self.file.read_bytes().split(b"\n")[:-1] if self.file.exists() else []
        for line in lines[self._passed :]:
            self._tell(line.decode(errors="replace"))
        self._passed = max(self._passed, len(lines))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.pass_on()
        self.file.unlink(missing_ok=True)


class Watchdog:
    """How long a run is waited for: as long as its files change, and not beyond the machine's limit."""

    def __init__(self, machine: Machine, folder: RunFolder, clock: Clock = time.monotonic) -> None:
        self._machine, self._clock = machine, clock
        self._files = (folder.steps_file, folder.log_file, folder.provenance_file, folder.checkpoints)
        self._began = self._changed = clock()
        self._seen = self._state()

    def over(self) -> str | None:
        """Return why the run is to be given up, or None while it is not."""
        now, state = self._clock(), self._state()
        if state != self._seen:
            self._seen, self._changed = state, now
        silence, whole = self._machine.silence_minutes, self._machine.run_minutes
        if now - self._changed > 60 * silence:
            return f"it showed no progress for {silence:g} minutes (silence_minutes of the machine file)"
        if whole is not None and now - self._began > 60 * whole:
            return f"it took more than {whole:g} minutes (run_minutes of the machine file)"
        return None

    def _state(self) -> list[tuple[int, int] | None]:
        return [(s.st_size, s.st_mtime_ns) if (s := _stat(file)) else None for file in self._files]


def _stat(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except OSError:
        return None


def environment(machine: Machine = THIS_MACHINE) -> dict[str, str]:
    """Return the environment of children: this one's programs come first, and its Open MPI is told where it lies."""
    variables = {**{k: v for k, v in os.environ.items() if k not in _OF_LAUNCHERS}, **machine.environment}
    for framework in FRAMEWORKS.values():  # horovodrun imports them as well
        framework.pin(variables)
    programs = Path(sys.prefix) / "bin"
    variables["PATH"] = os.pathsep.join([str(programs), variables.get("PATH", os.defpath)])
    if "TMPDIR" in variables:  # Open MPI looks nowhere else, and makes one that is not there
        variables["TMPDIR"] = tempfile.gettempdir()
    variables["SUITE_JOB"] = uuid.uuid4().hex
    variables["PYTHONUNBUFFERED"] = "1"
    use_own_mpi(variables)
    return variables


def passed_to_hosts(variables: Mapping[str, str], machine: Machine) -> list[str]:
    """Return the names of the variables that ranks on other hosts need."""
    return sorted({*_OURS, *machine.environment} & set(variables))


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
