"""Which rank of how many this process is, read from what its launcher left in the environment.

Known before any framework or Horovod is imported: rank 0 alone talks, threads are placed, and a run's size is the
launcher's.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import psutil

from horovod_runner.errors import SharedError, UserError
from horovod_runner.machine.limits import cpu_quota
from horovod_runner.machine.terminal import warn

PATIENCE_SECONDS = 3.0


@dataclass(frozen=True)
class World:
    """This process among the workers of a run, and among those that share its host."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    launcher: str = "none"

    @property
    def launched(self) -> bool:
        """Whether a launcher started this process."""
        return self.launcher != "none"

    @property
    def at_once(self) -> int:
        """How many runs share the host: a pool worker is the only worker of its run, and one of several processes."""
        return max(1, self.local_size // self.size)


_LAUNCHERS = {"mpirun", "mpiexec", "orterun", "orted", "prted", "horovodrun", "srun", "slurmstepd"}

# launcher: variables of rank, size, local rank, local size, of which the first three must be there. horovodrun --mpi is
# an mpirun with more variables; --gloo sets Horovod's own. What looks like mpiexec without a local rank is srun
# --mpi=pmi2. Slurm's last variable names the tasks of every node, so it is parsed.
_VARIABLES = {
    "horovodrun": ("HOROVOD_RANK", "HOROVOD_SIZE", "HOROVOD_LOCAL_RANK", "HOROVOD_LOCAL_SIZE"),
    "mpirun": (
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ),
    "mpiexec": ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    "srun": ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"),
}


class Foreign(NamedTuple):
    """A launcher whose processes this suite's Horovod cannot join, and the variables by which it is known.

    `apart`: each of its processes may have a log of its own, or the variables may be left from somebody's other job.
    """

    name: str
    variable: str
    rank: str
    size: str
    apart: bool = False


_TORCHRUN = Foreign("torchrun", "TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE")

# The first whose variable is set. jsrun's own variables come with Open MPI's where it starts IBM's MPI, which is found
# out when Horovod starts; PMI's are left by MPICH, Intel MPI and Cray MPI, PyTorch's by whoever starts its jobs.
_FOREIGN = (
    _TORCHRUN,
    Foreign("jsrun", "JSM_NAMESPACE_RANK", "JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE"),
    Foreign("mpiexec of PALS", "PALS_RANKID", "PALS_RANKID", "PMI_SIZE"),
    Foreign("aprun", "ALPS_APP_PE", "ALPS_APP_PE", "PMI_SIZE"),
    Foreign("flux run", "FLUX_TASK_RANK", "FLUX_TASK_RANK", "FLUX_JOB_SIZE"),
    Foreign("mpirun of MVAPICH", "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
    Foreign("a launcher with PMI", "PMI_RANK", "PMI_RANK", "PMI_SIZE"),
    Foreign("a launcher of PyTorch's jobs", "RANK", "RANK", "WORLD_SIZE", apart=True),
)


def detect(environment: Mapping[str, str] = os.environ) -> World:
    """Return this process's place; a process without a launcher is a world of its own.

    So is the one task of an `srun`, as under `srun --pty bash`: it may start workers itself. SharedError where a
    launcher that is none of ours has started several: each would train alone and believe itself the whole run.
    """
    if _TORCHRUN.variable in environment:  # where srun starts one torchrun a node, both have left their variables
        _refuse_foreign(environment)
    for launcher, names in _VARIABLES.items():
        if all(name in environment for name in names[:3]):
            rank, size, local_rank, local_size = (_number(environment, name) for name in names)
            if launcher != "srun" or size > 1:
                return World(rank, size, local_rank, max(local_size, 1), launcher)
    _refuse_foreign(environment)
    return World()


def _refuse_foreign(environment: Mapping[str, str]) -> None:
    launcher, world = _foreign(environment)
    if launcher is None or (world.size == 1 and launcher.size in environment):
        return
    count = str(world.size) if launcher.size in environment else "N"
    raise SharedError(
        f"{launcher.name} ({launcher.variable} is set) is not a launcher that this suite supports: every process would"
        f" train alone; use `horovodrun -np {count}` or `mpirun -np {count}` of .venv/bin, or start one process with"
        f" --workers {count}; a process that is the only one can do with {launcher.variable} unset"
    )


def _foreign(environment: Mapping[str, str]) -> tuple[Foreign | None, World]:
    """Return the launcher that is none of ours, if there is one, and what it says of this process's place."""
    for launcher in _FOREIGN:
        if launcher.variable in environment and launcher.rank in environment:
            rank, size = environment[launcher.rank], environment.get(launcher.size, "1")
            if rank.isdecimal() and size.isdecimal():
                return launcher, World(int(rank), int(size))
    return None, World()


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "0")
    if name == "SLURM_STEP_TASKS_PER_NODE":
        text = _tasks_here(text, _number(environment, "SLURM_NODEID"))
    if not text.isdigit():
        raise UserError(f"the launcher's variable {name} is {environment[name]!r}, not a number; start the run afresh")
    return int(text)


def _tasks_here(text: str, node: int) -> str:
    """Return the tasks of one node from Slurm's list of all: "2(x3),1" is 2 on three nodes, then 1."""
    for part in text.split(","):
        tasks, _, times = part.partition("(x")
        node -= int(times.rstrip(")") or 1)
        if node < 0:
            return tasks
    return "0"


def refuse_strangers(world: World, environment: Mapping[str, str] = os.environ) -> None:
    """Raise SharedError for ranks that cannot find one another: srun tells MPI nothing unless it is asked to.

    Open MPI would end each of them with a page that blames the way it was built.
    """
    if world.launcher == "srun" and "PMIX_RANK" not in environment:
        raise SharedError(
            f"srun started {world.size} workers and gave them no means to find one another; use `srun --mpi=pmix`,"
            " or horovodrun or mpirun inside an allocation (sbatch, salloc)"
        )


def complain(error: Exception, world: World) -> None:
    """Say why this process refuses to go on: rank 0 at once, another one only what it alone can know.

    Launchers end all ranks when the first one ends. So the others wait: rank 0 gets to speak, and whoever is still
    there afterwards was alone with its mistake, or belongs to an srun that lets ranks end one by one.
    """
    launcher, place = (None, world) if world.launched else _foreign(os.environ)
    apart = launcher is not None and launcher.apart
    if place.rank != 0:
        time.sleep(PATIENCE_SECONDS)
    if place.rank == 0 or apart or not isinstance(error, SharedError):
        warn(str(error))


def threads_for(world: World, wanted: int | None) -> int:
    """Return the threads of this worker: as wanted, or its share of the cores it may use.

    A launcher that binds each rank to cores of its own has done the sharing already; it may use more of them than its
    ranks. A control group's quota is for all ranks on the host together.
    """
    if wanted is not None:
        return wanted
    allowed = len(os.sched_getaffinity(0))
    launcher = launcher_process() if world.launched else None
    bound = launcher is not None and allowed < len(os.sched_getaffinity(launcher.pid))
    quota = cpu_quota()
    share = allowed if bound else allowed // world.local_size
    return max(1, share if quota is None else min(share, int(quota.amount) // world.local_size))


def launcher_process() -> psutil.Process | None:
    """Return the nearest ancestor on this host that is a launcher, or a launcher's daemon; None if there is none."""
    return next((p for p in psutil.Process().parents() if _LAUNCHERS & _names(p)), None)


def _names(process: psutil.Process) -> set[str]:
    """Return what a process is called: by the kernel, and by the first words of its command (scripts, wrappers)."""
    with contextlib.suppress(psutil.Error):
        return {process.name(), *(os.path.basename(word) for word in process.cmdline()[:2])}
    return set()
