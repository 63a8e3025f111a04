"""One run from the command line: under a launcher one rank of it, alone the whole of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from horovod_runner.config.defaults import put_all
from horovod_runner.config.job_settings import decode_with
from horovod_runner.config.machine import Machine, load_machine
from horovod_runner.config.schema import RunConfig
from horovod_runner.errors import EXIT_DIVERGED, SharedError
from horovod_runner.frameworks.installed import require_installed
from horovod_runner.launch.emulated.cluster import require_possible
from horovod_runner.launch.processes import launch
from horovod_runner.machine.terminal import err, tell, warn
from horovod_runner.machine.world import World, detect
from horovod_runner.matrix.ending import begin, diagnosis
from horovod_runner.results.earlier import refuse_earlier
from horovod_runner.results.provenance import remember_command
from horovod_runner.results.store import Store, claimed


def bench(settings: Mapping[str, Any], results: Path, machine: Path | None = None) -> int:
    """Do the run with these settings, by their paths, and return its exit code; UserError names what is wrong."""
    world, here = detect(), load_machine(machine)
    sized = {**settings, "workers": _size(world, settings.get("workers"))}
    config = decode_with(here.settings, put_all({}, sized), "bench")
    refuse_earlier(results / config.experiment)
    remember_command()
    if world.launched or (config.workers == 1 and not config.cluster.emulated):
        from horovod_runner.training.worker import run_worker

        return run_worker(config, Store(results).folder(config))
    return _launch(config, Store(results), here)


def _size(world: World, workers: Any) -> Any:
    """Return the number of workers: the launcher's, if there is one."""
    if world.launched and workers is not None and workers != world.size:
        raise SharedError(f"--workers {workers} is given, but the launcher started {world.size}; leave --workers out")
    return world.size if world.launched else 1 if workers is None else workers


def _launch(config: RunConfig, store: Store, machine: Machine) -> int:
    require_installed(config)
    require_possible(config, machine)
    begun = begin(config, store)
    # Runners leave a claimed run alone; rank 0 sees to it that no other process does the same one.
    with claimed(begun.folder.claim), begun.folder.open_log() as log:
        ended = launch(config, begun.folder, log, machine=machine, tell=tell)
    # A launcher may put a code of its own in the place of a rank's.
    if begun.folder.result_file.exists() and begun.folder.read_result().status == "diverged":
        return EXIT_DIVERGED
    if ended.code == 0 and not ended.given_up:
        return 0
    why, last = diagnosis(begun, ended)
    log_file = begun.folder.log_file
    warn(f"{why}; its log is {log_file}, and the same command goes on from the last checkpoint")
    for line in last:
        print(f"    {line}", file=err())
    return 1
