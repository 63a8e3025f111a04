"""What a rank's process does to itself before a framework is imported: takes its threads, and follows its launcher."""

from __future__ import annotations

import os
import threading
import time

import psutil

from horovod_runner.machine.world import World, launcher_process

LOGGED = "SUITE_LOGGED"  # tells a run's ranks that what they print goes to its log already
TOLD = "SUITE_TOLD"  # names the file to which rank 0 then adds what the user shall see at once


def become_rank(world: World, threads: int) -> None:
    """Make this process one of the world's: with so many threads, ending with its launcher."""
    place_threads(threads)
    if world.launched:
        _follow_launcher()
        _quieten_pmix()


def place_threads(threads: int) -> None:
    """Give this process so many threads, before a framework reads the variables."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)


def follow(process: psutil.Process) -> None:
    """End this process when that one is gone."""
    threading.Thread(target=_end_with, args=(process,), daemon=True).start()


def _follow_launcher() -> None:
    """End this process when the launcher that started it is gone: an orphan would hold cores and files."""
    launcher = launcher_process()
    if launcher is not None:
        follow(launcher)


def _end_with(process: psutil.Process) -> None:
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(1.0)
    os._exit(1)


def _quieten_pmix() -> None:
    """Have the environment's Open MPI identify itself to Slurm in the way that it was built with.

    Slurm offers "munge,native", and for munge, which it lacks, every rank would print a page.
    """
    if "native" in os.environ.get("PMIX_SECURITY_MODE", "").split(","):
        os.environ.setdefault("PMIX_MCA_psec", "native")
