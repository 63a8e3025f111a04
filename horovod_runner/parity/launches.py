"""One launch that does several runs one after another: a framework takes longer to import than a small run does.

`start` launches it; `python -m horovod_runner.parity.launches FOLDER...` is one of its ranks. Horovod starts once in a
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
from horovod_runner.machine.world import World, detect
from horovod_runner.parity.sides import Trajectory
from horovod_runner.results.checkpoint import Checkpoints
from horovod_runner.results.store import RunFolder, Store
from horovod_runner.training.job import prepare

PATIENCE = 1200.0  # seconds; such a launch takes up to a minute on two idle cores
Plain = Mapping[str, Any]


class LaunchFailed(RuntimeError):
    """A launch ended early; the message ends with what its ranks last said."""


def start(results: Path, settings: Sequence[Plain], workers: int = 2, controller: str = "mpi") -> list[Trajectory]:
    """Do all of these runs in one launch; return what each of them recorded and last saved."""
    return [recorded(folder) for folder in started(results, settings, workers, controller)]


def started(results: Path, settings: Sequence[Plain], workers: int = 2, controller: str = "mpi") -> list[RunFolder]:
    """Do all of these runs in one launch; return their folders."""
    configs = [_config(raw, workers, controller) for raw in settings]
    folders = [Store(results).open_run(config) for config in configs]
    launch(folders)
    return folders


def launch(folders: Sequence[RunFolder]) -> None:
    """Do, or go on with, the runs of these folders in one launch; LaunchFailed if it does not end well."""
    config = folders[0].read_config()
    argv = [sys.executable, "-m", "horovod_runner.parity.launches", *(str(folder.path) for folder in folders)]
    full = command(config, argv, Start(config.workers, Machine()))
    done = subprocess.run(full, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode != 0:
        raise LaunchFailed(f"ranks of the proof ended with exit code {done.returncode}:\n{done.stderr[-4000:]}")


def recorded(folder: RunFolder) -> Trajectory:
    """Return what a finished run recorded and last saved."""
    config, steps = folder.read_config(), folder.read_steps()
    saved = Checkpoints(folder.checkpoints, config.checkpoint.keep)
    state = saved.load(saved.steps()[-1], config, prepare(config).shapes)
    validated = [(step.val_loss, step.val_metric) for step in steps if step.val_loss is not None]
    return Trajectory(
        tuple(step.train_loss for step in steps),
        tuple(int(step.batch or "0", 16) for step in steps),
        state,
        tuple(float(figure) for figures in validated for figure in figures if figure is not None),
    )


def here(results: Path, raw: Plain) -> Trajectory:
    """Do a run of one worker in this process, as a rank would do it; return what it recorded and last saved."""
    from horovod_runner.training.join import say_nothing
    from horovod_runner.training.run import run

    config = decode({**raw, "workers": 1}, "parity")
    folder = Store(results).open_run(config)
    run(config, folder, World(), say_nothing)
    return recorded(folder)


def _config(raw: Plain, workers: int, controller: str) -> RunConfig:
    how = {**raw.get("allreduce", {}), "controller": controller, "cache": False}
    return decode({**raw, "workers": workers, "allreduce": how}, "parity")


def main() -> None:
    """Be one rank of all the runs."""
    from horovod_runner.allreduce.groups import Member
    from horovod_runner.machine.process import place_threads
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
