"""What one worker's process does around its training: place threads, follow the launcher, turn endings into exit codes.

`python -m horovod_runner.training.worker RUN_FOLDER` is one worker of the run that the folder describes; launchers
start so many of them. `horovod-runner bench` under a launcher comes here too.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import psutil

from horovod_runner.allreduce.settings import carrier
from horovod_runner.config.schema import RunConfig
from horovod_runner.errors import EXIT_DIVERGED, EXIT_INTERRUPTED, EXIT_USER_ERROR, MISTAKES, SharedError
from horovod_runner.frameworks.base import Backend, Job, load_backend
from horovod_runner.frameworks.installed import require_installed
from horovod_runner.machine.world import World, complain, detect, launcher_process, refuse_strangers, threads_for
from horovod_runner.results.record import RunResult
from horovod_runner.results.store import RunFolder, Store, full_disk_named

Talk = Callable[[str], None]
LOGGED = "SUITE_LOGGED"  # tells a run's ranks that what they print goes to its log already


def run_worker(config: RunConfig, results: Path) -> int:
    """Do this worker's part of a run; return the exit code of the process, having said why it is not 0."""
    world = detect()
    try:
        return _work(config, Store(results).folder(config), world, results)
    except (Exception, KeyboardInterrupt) as error:
        code = explained(error, world)
    _leave(code)
    return code


def explained(error: BaseException, world: World) -> int:
    """Return the exit code of a worker that ends with this error, having said why."""
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    if isinstance(error, MISTAKES):
        complain(error, world)
        return EXIT_USER_ERROR
    why = "".join(traceback.format_exception(error))
    print(f"horovod-runner: rank {world.rank} of {world.size}: {why}", file=sys.stderr, flush=True)
    return 1


def _work(config: RunConfig, folder: RunFolder, world: World, results: Path) -> int:
    if config.workers != world.size:
        raise SharedError(
            f"workers is {config.workers}, but {world.size} were started; leave --workers out under a launcher"
        )
    require_installed(config)
    if carrier(config) is not None:
        refuse_strangers(world)
    place_threads(threads_for(world, config.threads))
    if world.launched:
        follow_launcher()
        quieten_pmix()
    if world.rank == 0:
        Store(results).open_run(config)
    say = _talker(folder) if world.rank == 0 else _silent
    return train(config, folder, world, say, load_backend)


def train(config: RunConfig, folder: RunFolder, world: World, say: Talk, load: Callable[[Job], Backend]) -> int:
    """Do this worker's part of a run, its threads being placed; return the exit code of one that has a result."""
    from horovod_runner.training.run import run

    result = run(config, folder, world, say, load)
    say(closing_line(result, folder))
    return EXIT_DIVERGED if result.status == "diverged" else 0


def place_threads(threads: int) -> None:
    """Give this process so many threads, before a framework reads the variables; frameworks' chatter is kept down."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def quieten_pmix() -> None:
    """Have the environment's Open MPI identify itself to Slurm in the way that it was built with.

    Slurm offers "munge,native", and for munge, which it lacks, every rank would print a page.
    """
    if "native" in os.environ.get("PMIX_SECURITY_MODE", "").split(","):
        os.environ.setdefault("PMIX_MCA_psec", "native")


def follow_launcher() -> None:
    """End this process when the launcher that started it is gone: an orphan would hold cores and files."""
    launcher = launcher_process()
    if launcher is not None:
        follow(launcher)


def follow(process: psutil.Process) -> None:
    """End this process when that one is gone."""
    threading.Thread(target=_end_with, args=(process,), daemon=True).start()


def _end_with(process: psutil.Process) -> None:
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(1.0)
    os._exit(1)


def closing_line(result: RunResult, folder: RunFolder) -> str:
    """Return the sentence that a run ends with."""
    rate = result.images_per_second
    untimed = "no step was timed" if result.at_once == 1 else f"not timed, {result.at_once} runs at once"
    speed = untimed if rate is None else f"{rate.mean:.1f} images/s"
    if rate is not None and rate.ci95_low is not None and rate.ci95_high is not None:
        speed += f" [{rate.ci95_low:.1f}, {rate.ci95_high:.1f}]"
    why = f" ({result.error})" if result.error else ""
    return f"{result.status}{why}: {speed}{_target(result)}, {folder.result_file}"


def _target(result: RunResult) -> str:
    if result.target is None:
        return ""
    steps = result.steps_to_target
    return f", {result.target:g} " + ("not reached" if steps is None else f"reached after {steps} steps")


def _talker(folder: RunFolder) -> Callable[[str], None]:
    """Speak to the user and to the log, which are one where a runner looks after the run."""
    if os.environ.get(LOGGED):
        return functools.partial(print, flush=True)

    def say(line: str) -> None:
        print(line, flush=True)
        with full_disk_named(folder.log_file), folder.log_file.open("a") as file:
            file.write(line + "\n")

    return say


def _silent(line: str) -> None:
    """Say nothing: rank 0 alone talks."""


def _leave(code: int) -> None:
    """End at once under a launcher: other workers may be in a collective that this one will never join."""
    if detect().launched:
        sys.stdout.flush()
        os._exit(code)


def main() -> int:
    """Be one worker of the run in the folder named on the command line."""
    folder = RunFolder(Path(sys.argv[1]))
    return run_worker(folder.read_config(), folder.path.parent.parent)


if __name__ == "__main__":
    sys.exit(main())
