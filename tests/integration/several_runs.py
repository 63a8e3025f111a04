"""One launch that does several runs one after another: a framework takes longer to import than a small run does.

`start` launches it; `python -m tests.integration.several_runs FOLDER...` is one of its ranks. Horovod starts once in a
process: MPI could not start again, and Gloo would meet those that it met before. So all runs have what Horovod read
from the settings of the first; and without its cache, which takes an operation for another one of the same name.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from horovod_runner.config.machine import Machine
from horovod_runner.config.schema import RunConfig, decode
from horovod_runner.launch.launchers import Start, command
from horovod_runner.launch.processes import environment
from horovod_runner.parity.ranks import recorded
from horovod_runner.parity.sides import Trajectory
from horovod_runner.results.store import RunFolder, Store


def start(
    results: Path, settings: Sequence[Mapping[str, Any]], workers: int = 2, controller: str = "mpi"
) -> list[Trajectory]:
    """Do all of these runs in one launch; return what each of them recorded and last saved."""
    configs = [_config(raw, workers, controller) for raw in settings]
    folders = [Store(results).open_run(config) for config in configs]
    launch(folders)
    return [recorded(folder) for folder in folders]


def launch(folders: Sequence[RunFolder]) -> None:
    """Do, or go on with, the runs of these folders in one launch."""
    config = folders[0].read_config()
    argv = [sys.executable, "-m", "tests.integration.several_runs", *(str(folder.path) for folder in folders)]
    done = subprocess.run(
        command(config, argv, Start(config.workers, Machine())),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr[-4000:]


def _config(raw: Mapping[str, Any], workers: int, controller: str) -> RunConfig:
    how = {**raw.get("allreduce", {}), "controller": controller, "cache": False}
    return decode({**raw, "workers": workers, "allreduce": how}, "test")


def main() -> None:
    """Be one rank of all the runs."""
    from horovod_runner.allreduce.groups import Member
    from horovod_runner.machine.process import place_threads
    from horovod_runner.machine.world import detect
    from horovod_runner.training.join import say_nothing
    from horovod_runner.training.run import run

    place_threads(1)
    folders = [RunFolder(Path(name)) for name in sys.argv[1:]]
    close = Member.close
    for folder in folders:
        Member.close = close if folder is folders[-1] else _stay  # type: ignore[method-assign]
        run(folder.read_config(), folder, detect(), say_nothing)


def _stay(self: Any) -> None:
    """Leave the group open for the next run."""


if __name__ == "__main__":
    main()
