"""What a rank's process does to itself before a framework is imported: takes its threads, and follows its launcher."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
import time
from collections.abc import MutableMapping
from pathlib import Path

import psutil

from horovod_runner.machine.world import World, launcher_process

LOGGED = "SUITE_LOGGED"  # tells a run's ranks that what they print goes to its log already
TOLD = "SUITE_TOLD"  # names the file to which rank 0 then adds what the user shall see at once

_LIBRARIES = "LD_LIBRARY_PATH"
_MPI = ("libopen-pal.so.40", "libopen-rte.so.40", "libmpi.so.40")


def become_rank(world: World, threads: int) -> None:
    """Make this process one of the world's: with so many threads, ending with its launcher."""
    place_threads(threads)
    if world.launched:
        _follow_launcher()
        _quieten_pmix()
        use_own_mpi(os.environ)
        _load_own_mpi()
        if world.launcher != "horovodrun":  # which alone has ranks meet by Gloo
            os.environ["HOROVOD_CONTROLLER"] = "mpi"


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


def use_own_mpi(environment: MutableMapping[str, str]) -> None:
    """Have processes of this environment find its own Open MPI, where there is one, and no other that a shell names.

    Modules of clusters set the variables of theirs, which is of another version or another MPI.
    """
    prefix = Path(sys.prefix)
    if not (prefix / "bin" / "mpirun").exists():
        return
    environment["OPAL_PREFIX"] = str(prefix)
    if environment.get(_LIBRARIES):
        places = [str(prefix / "lib"), *environment[_LIBRARIES].split(os.pathsep)]
        environment[_LIBRARIES] = os.pathsep.join(dict.fromkeys(places))


def _load_own_mpi() -> None:
    """Load the environment's Open MPI before anyone asks for it by its short name: the loader has read its variables.

    One library each, those first that others need.
    """
    if _LIBRARIES in os.environ:
        for name in _MPI:
            with contextlib.suppress(OSError):  # no Open MPI in this environment: the loader finds what there is
                ctypes.CDLL(str(Path(sys.prefix) / "lib" / name), mode=ctypes.RTLD_GLOBAL)


def _quieten_pmix() -> None:
    """Have the environment's Open MPI identify itself to Slurm in the way that it was built with.

    Slurm offers "munge,native", and for munge, which it lacks, every rank would print a page.
    """
    if "native" in os.environ.get("PMIX_SECURITY_MODE", "").split(","):
        os.environ.setdefault("PMIX_MCA_psec", "native")
