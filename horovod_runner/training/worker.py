"""What one worker's process does around its run: it sees that the run is possible, does it, and ends with a code.

`python -m horovod_runner.training.worker RUN_FOLDER` is one worker of the run that the folder describes; launchers
start so many of them. `horovod-runner bench` under a launcher comes here too.
"""

from __future__ import annotations

import functools
import os
import platform
import sys
import traceback
from pathlib import Path

from horovod_runner.config.schema import RunConfig
from horovod_runner.errors import EXIT_DIVERGED, EXIT_INTERRUPTED, EXIT_USER_ERROR, USER_ERRORS, SharedError, UserError
from horovod_runner.frameworks.build import load_backend
from horovod_runner.frameworks.installed import require_installed
from horovod_runner.machine.process import LOGGED, TOLD, become_rank
from horovod_runner.machine.terminal import log_libraries, print_leniently, tell, warn
from horovod_runner.machine.world import World, complain, detect, refuse_strangers, threads_for
from horovod_runner.results.record import RunResult
from horovod_runner.results.store import RunFolder, append_line
from horovod_runner.training.join import Load, Say, say_nothing


def run_worker(config: RunConfig, folder: RunFolder) -> int:
    """Do this worker's part of a run; return the exit code of the process, having said why it is not 0."""
    world = detect()
    try:
        _require_possible(config, world)
        become_rank(world, threads_for(world, config.threads))
        if world.rank == 0:
            folder.open(config)
        with folder.open_log() as log:
            log_libraries(log)
        return train(config, folder, world, _talker(folder, world), load_backend)
    except (Exception, KeyboardInterrupt) as error:
        code = explained(error, world)
        if code == EXIT_USER_ERROR and world.rank == 0 and os.environ.get(LOGGED) is None:
            folder.discard_unbegun()  # where a runner looks after the run, it reads the log first
    _leave(code)
    return code


def explained(error: BaseException, world: World) -> int:
    """Return the exit code of a worker that ends with this error, having said why."""
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    if isinstance(error, USER_ERRORS):
        complain(error, world)
        return EXIT_USER_ERROR
    why = "".join(traceback.format_exception(error))
    warn(f"rank {world.rank} of {world.size}: {why}")
    return 1


def _require_possible(config: RunConfig, world: World) -> None:
    """Raise UserError where the workers that were started cannot do the run, or SharedError if all see it alike."""
    if config.workers != world.size:
        raise SharedError(
            f"workers is {config.workers}, but {world.size} were started; leave --workers out under a launcher"
        )
    require_installed(config)
    if config.transport is not None:
        refuse_strangers(world)


def train(config: RunConfig, folder: RunFolder, world: World, say: Say, load: Load) -> int:
    """Do this worker's part of a run, its threads being placed; return the exit code of one that has a result."""
    from horovod_runner.training.run import run

    result = run(config, folder, world, say, load)
    say(closing_line(result, folder))
    return EXIT_DIVERGED if result.status == "diverged" else 0


def closing_line(result: RunResult, folder: RunFolder) -> str:
    """Return the sentence that a run ends with."""
    rate = result.images_per_second
    untimed = "no step was timed" if result.at_once == 1 else f"not timed, {result.at_once} runs at once"
    speed = untimed if rate is None else f"{rate.mean:.1f} images/s"
    if rate is not None and rate.ci95_low is not None and rate.ci95_high is not None:
        speed += f" [{rate.ci95_low:.1f}, {rate.ci95_high:.1f}]"
    why = f" ({result.error})" if result.error else ""
    return f"{result.status}{why}: {speed}{_target(result)}{_learning(result)}, {folder.result_file}"


def _target(result: RunResult) -> str:
    if result.target is None:
        return ""
    steps = result.steps_to_target
    return f", {result.target:g} " + ("not reached" if steps is None else f"reached after {steps} steps")


def _learning(result: RunResult) -> str:
    if result.learned is not False or result.val_metric is None:
        return ""
    metric, ended = result.val_metric.name, result.val_metric.values[-1]
    return f", has not learned ({metric} {ended:.4f}, the trivial predictor {result.trivial_metric:.4f})"


def _talker(folder: RunFolder, world: World) -> Say:
    """Return what rank 0 talks by, to the user and to the log, which are one where a runner looks after the run."""
    if world.rank != 0:
        return say_nothing
    if os.environ.get(LOGGED) is None:
        return functools.partial(_say, folder.log)
    told = os.environ.get(TOLD)
    return tell if told is None else functools.partial(_say, functools.partial(append_line, Path(told)))


def _say(also: Say, line: str) -> None:
    tell(line)
    also(line)


def _leave(code: int) -> None:
    """End at once under a launcher: other workers may be in a collective that this one will never join."""
    if detect().launched:
        sys.stdout.flush()
        os._exit(code)


def main() -> int:
    """Be one worker of the run in the folder named on the command line."""
    print_leniently()
    folder = RunFolder(Path(sys.argv[1]))
    try:
        config = _described(folder)
    except USER_ERRORS as error:
        code = explained(error, detect())
        _leave(code)
        return code
    return run_worker(config, folder)


def _described(folder: RunFolder) -> RunConfig:
    """Return the description of the run in a folder; UserError where this host has another disk than rank 0's."""
    if not folder.config_file.exists():
        raise UserError(
            f"{folder.path} is not there on host {platform.node()}, and all hosts of a run have to see it; choose a"
            " folder that they share with --results"
        )
    return folder.read_config()


if __name__ == "__main__":
    sys.exit(main())
