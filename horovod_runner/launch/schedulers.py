"""What Slurm, LSF and PBS call the things that a job script needs. A table; nothing here is run.

Sources: sbatch(1) and scancel(1) of Slurm 22.05; bsub and bkill of IBM Spectrum LSF 10.1's command reference; qsub(1B),
qdel(1B) and pbs_resources(7B) of OpenPBS.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

PBS_LONGEST = 15  # characters of a job's name; PBS Professional before 2020 and Torque take no more


class Resources(NamedTuple):
    """What one job asks for; `seconds` is its time limit."""

    name: str
    nodes: int
    workers_per_node: int
    cpus_per_worker: int
    seconds: int
    queue: str | None = None
    account: str | None = None
    gpus_per_node: int | None = None


@dataclass(frozen=True)
class Scheduler:
    """One scheduler's words; `{}` in them is a script, quoted for the shell, or in `stop_all` a job's name.

    `job_name` makes a name that it takes of an experiment's.
    """

    directives: Callable[[Resources], list[str]]
    submit: str
    queue_next: str
    withdraw: str
    stop_all: str
    folder: str
    job_name: Callable[[str], str] = lambda name: name


def _slurm(job: Resources) -> list[str]:
    return _directives(
        "#SBATCH",
        f"--job-name={job.name}",
        f"--output={job.name}.%j.log",
        f"--nodes={job.nodes}",
        f"--ntasks-per-node={job.workers_per_node}",
        job.cpus_per_worker > 1 and f"--cpus-per-task={job.cpus_per_worker}",
        job.gpus_per_node and f"--gpus-per-node={job.gpus_per_node}",
        f"--time={_clock(job.seconds)}",
        job.queue and f"--partition={job.queue}",
        job.account and f"--account={job.account}",
        "--exclusive",
        "--no-requeue",
        "--signal=B:TERM@60",
    )


def _lsf(job: Resources) -> list[str]:
    minutes = -(-job.seconds // 60)
    return _directives(
        "#BSUB",
        f"-J {job.name}",
        f"-o {job.name}.%J.log",
        f"-n {job.nodes * job.workers_per_node}",
        f'-R "span[ptile={job.workers_per_node}]"',
        job.cpus_per_worker > 1 and f'-R "affinity[core({job.cpus_per_worker})]"',
        job.gpus_per_node and f'-gpu "num={job.gpus_per_node}"',
        f"-W {minutes // 60}:{minutes % 60:02}",
        job.queue and f"-q {job.queue}",
        job.account and f"-P {job.account}",
        "-x",
        "-rn",
        "-wa TERM",
        "-wt 1",
    )


def _pbs(job: Resources) -> list[str]:
    gpus = f":ngpus={job.gpus_per_node}" if job.gpus_per_node else ""
    cpus = job.workers_per_node * job.cpus_per_worker
    return _directives(
        "#PBS",
        "-S /bin/bash",
        f"-N {job.name}",
        "-j oe",
        f"-l select={job.nodes}:ncpus={cpus}:mpiprocs={job.workers_per_node}{gpus}",
        "-l place=scatter:exclhost",
        f"-l walltime={_clock(job.seconds)}",
        job.queue and f"-q {job.queue}",
        job.account and f"-A {job.account}",
        "-r n",
    )


def _pbs_name(name: str) -> str:
    """Return a job's name that every PBS takes: a letter first, and 15 characters at most; a cut one stays distinct."""
    begun = name if name[0].isalpha() else f"hr-{name}"
    if len(begun) <= PBS_LONGEST:
        return begun
    digits = hashlib.sha256(name.encode()).hexdigest()[:4]
    return f"{begun[: PBS_LONGEST - len(digits) - 1]}-{digits}"


# A job that is requeued by the scheduler would queue a second successor: --no-requeue, -rn, -r n. PBS warns by SIGTERM
# at the end of the time, some seconds before it kills; the others do so a minute before.
SCHEDULERS = {
    "slurm": Scheduler(
        directives=_slurm,
        submit="sbatch {}",
        queue_next='sbatch --parsable --dependency="afterany:$SLURM_JOB_ID"'
        " --export=ALL,SUITE_JOBS_LEFT=$((jobs_left - 1)) {} | cut -d ';' -f 1",
        withdraw="scancel",
        stop_all='scancel --user="$USER" --name={}',
        folder="SLURM_SUBMIT_DIR",
    ),
    "lsf": Scheduler(
        directives=_lsf,
        submit="bsub < {}",
        queue_next='SUITE_JOBS_LEFT=$((jobs_left - 1)) bsub -w "ended($LSB_JOBID)" < {}'
        " | sed -n 's/^Job <\\([0-9]*\\)>.*/\\1/p'",
        withdraw="bkill",
        stop_all="bkill -J {} 0",
        folder="LS_SUBCWD",
    ),
    "pbs": Scheduler(
        directives=_pbs,
        submit="qsub {}",
        queue_next='qsub -W "depend=afterany:$PBS_JOBID" -v SUITE_JOBS_LEFT=$((jobs_left - 1)) {}',
        withdraw="qdel",
        stop_all='qdel $(qselect -u "$USER" -N {})',
        folder="PBS_O_WORKDIR",
        job_name=_pbs_name,
    ),
}


def _directives(prefix: str, *options: str | int | None) -> list[str]:
    """Return the directives of the options that were given."""
    return [f"{prefix} {option}" for option in options if option]


def _clock(seconds: int) -> str:
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
