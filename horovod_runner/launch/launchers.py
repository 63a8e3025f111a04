"""The argv that starts all workers of a run, by launcher: words in, words out, nothing is started.

A launcher is chosen for the machine, a controller (who coordinates Horovod: MPI or Gloo) for the run.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from horovod_runner.config.machine import Machine
from horovod_runner.config.schema import RunConfig
from horovod_runner.errors import UserError

Argv = list[str]


@dataclass(frozen=True)
class Start:
    """What a launcher is asked for: so many workers, there, with these variables, and lines that name their rank."""

    workers: int
    machine: Machine
    passed_on: Sequence[str] = ()
    tagged: bool = False


def command(config: RunConfig, worker: Sequence[str], start: Start) -> Argv:
    """Return the argv that starts all workers of a run.

    UserError when there is no such launcher here, or it cannot do what the run asks for.
    """
    machine = start.machine
    machine.require_room(config.workers)
    if config.workers == 1 and not machine.hosts and machine.launcher != "srun":
        return list(worker)
    controller = config.allreduce.controller
    launcher = machine.launcher
    if controller == "auto":
        controller = usual_controller(machine)
    if launcher == "auto":
        launcher = "mpirun" if controller == "mpi" else "horovodrun"
    launcher_words = _COMMANDS.get((launcher, controller))
    if launcher_words is None:
        raise UserError(
            f"allreduce.controller: {launcher} cannot start workers that meet by {controller}; use horovodrun for that"
        )
    return [*machine.before_launcher, *launcher_words(start), *worker]


def usual_controller(machine: Machine) -> Literal["mpi", "gloo"]:
    """Return who coordinates the runs that leave it open."""
    return "gloo" if machine.launcher == "auto" and not find("mpirun") else "mpi"


def controllers(machine: Machine) -> list[str]:
    """Return the controllers that runs can have here, the usual one first."""
    pairs = {("mpirun", "mpi"), ("horovodrun", "gloo")}
    if machine.launcher != "auto":
        pairs = {pair for pair in _COMMANDS if pair[0] == machine.launcher}
    possible = [who for launcher, who in pairs if find(launcher)]
    return sorted(possible, key=lambda who: who != usual_controller(machine))


# A host that is gone says nothing. So a daemon that is silent is asked, and given up after half a minute: mpirun's own
# patience is eight minutes.
_NOTICED = (("oob_tcp_keepalive_time", "10"), ("oob_tcp_keepalive_intvl", "5"), ("oob_tcp_keepalive_probes", "4"))


# Where Slurm's variables stand and srun does not, as in a container, mpirun would want it to reach the allocation.
_HERE = ("--mca", "ras", "^slurm", "--mca", "plm", "^slurm")


def _mpirun(start: Start) -> Argv:
    # As horovodrun calls it, less the seconds that horovodrun takes to get there. Ranks are not bound: threads are
    # placed by the worker, and Horovod's own thread needs to move.
    words = [_found("mpirun"), "--bind-to", "none", "--map-by", "slot"]
    if os.geteuid() == 0:
        words.append("--allow-run-as-root")
    # Who failed stands in a page of mpirun's, which is for a log and not for a terminal.
    words.append("--tag-output" if start.tagged else "-q")
    if start.machine.hosts:
        words += [word for name, value in _NOTICED for word in ("--mca", name, value)]
        words += ["-H", start.machine.host_list(), *(word for name in start.passed_on for word in ("-x", name))]
    else:
        words.append("--oversubscribe")
        if not find("srun"):
            words += _HERE
    return [*words, *start.machine.options, "-np", str(start.workers)]


def _horovodrun(controller: str, start: Start) -> Argv:
    hosts = start.machine.host_list() or f"localhost:{start.workers}"
    words = [_found("horovodrun"), f"--{controller}", "-np", str(start.workers), "-H", hosts]
    if not _can_be_made(Path("~/.horovod")):  # there it remembers which hosts it could reach
        words.append("--disable-cache")
    return [*words, *start.machine.options]


def _can_be_made(folder: Path) -> bool:
    """Make a folder of the user's home, and say whether that could be: there may be no home, or one to read only."""
    try:
        folder.expanduser().mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return False
    return True


def _srun(start: Start) -> Argv:
    # Slurm passes the environment on by itself; without PMIx the ranks could not find one another.
    words = [_found("srun"), "--mpi=pmix", "-n", str(start.workers)]
    if start.tagged:
        words.append("--label")
    if start.machine.hosts:
        words += ["--nodelist", ",".join(start.machine.hosts)]
    return [*words, *start.machine.options]


_COMMANDS: dict[tuple[str, str], Callable[[Start], Argv]] = {
    ("mpirun", "mpi"): _mpirun,
    ("horovodrun", "gloo"): partial(_horovodrun, "gloo"),
    ("horovodrun", "mpi"): partial(_horovodrun, "mpi"),
    ("srun", "mpi"): _srun,
}


def find(program: str) -> str | None:
    """Return the path of a program of this environment, or else of the PATH; None if there is none."""
    beside = Path(sys.prefix) / "bin" / program
    return str(beside) if beside.exists() else shutil.which(program)


def _found(program: str) -> str:
    path = find(program)
    if path is None:
        remedy = "start this inside a Slurm installation" if program == "srun" else "run `make setup`"
        raise UserError(f"the workers are to be started by {program}, which is not installed; {remedy}")
    return path
