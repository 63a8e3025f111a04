"""One run from the command line: under a launcher one rank of it, alone the whole of it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from horovod_runner.config.defaults import put_all
from horovod_runner.config.job_settings import decode_with
from horovod_runner.config.machine import Machine, load_machine
from horovod_runner.config.schema import RunConfig
from horovod_runner.errors import EXIT_DIVERGED, EXIT_USER_ERROR, SharedError
from horovod_runner.frameworks.installed import require_installed
from horovod_runner.launch.processes import launch
from horovod_runner.machine.world import World, detect
from horovod_runner.results.earlier import refuse_earlier
from horovod_runner.results.provenance import remember_command
from horovod_runner.results.store import Store


def bench(
    framework: str,
    named: Mapping[str, Any],
    settings: Mapping[str, Any],
    workers: Any,
    results: Path,
    machine: Path | None = None,
) -> int:
    """Do one run and return its exit code; UserError names the option that is wrong."""
    world, here = detect(), load_machine(machine)
    config = _config(framework, named, settings, _size(world, workers), here)
    refuse_earlier(results / config.experiment)
    remember_command()
    if world.launched or config.workers == 1:
        from horovod_runner.training.worker import run_worker

        return run_worker(config, Store(results).folder(config))
    return _launch(config, Store(results), here)


def _config(
    framework: str, named: Mapping[str, Any], settings: Mapping[str, Any], workers: Any, machine: Machine
) -> RunConfig:
    plain = put_all({"framework": framework, "workers": workers}, {**named, **settings})
    return decode_with(machine.settings, plain, "bench")


def _size(world: World, workers: Any) -> Any:
    """Return the number of workers: the launcher's, if there is one."""
    if world.launched and workers is not None and workers != world.size:
        raise SharedError(f"--workers {workers} is given, but the launcher started {world.size}; leave --workers out")
    return world.size if world.launched else 1 if workers is None else workers


def _launch(config: RunConfig, store: Store, machine: Machine) -> int:
    require_installed(config)
    folder = store.open_run(config)
    code = launch(config, folder, machine=machine).code
    # A launcher may put a code of its own in the place of a rank's.
    if folder.result_file.exists() and folder.read_result().status == "diverged":
        return EXIT_DIVERGED
    if code not in (0, EXIT_USER_ERROR):
        print(f"horovod-runner: {_why(code)}; the same command goes on from the last checkpoint", file=sys.stderr)
        return 1
    return code


def _why(code: int) -> str:
    """Say what a launcher's exit code means: a signal's number is negative, or added to 128 as shells do."""
    number = -code if code < 0 else code - 128
    names = {s.value: s.name for s in signal.Signals}
    return f"a worker was ended by {names[number]}" if number in names else f"a worker ended with exit code {code}"
