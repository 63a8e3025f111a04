"""A process that does one run of one worker after another, in one framework, beside others of its kind.

`python -m horovod_runner.training.pool_worker AT_ONCE` reads run folders, a line each, and does each of these runs as
`training.worker` would, but with the backend of an earlier run where it can (reuse.py), and with its share of the
cores, of which there are AT_ONCE. What a run prints goes to its log; the exit code that a worker would have had is
answered on standard output, with the folder, a line each. It ends with its input, with the process that started it, and
after a run that broke down, which may have left anything behind.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil

from horovod_runner.errors import EXIT_DIVERGED
from horovod_runner.frameworks.build import load_backend
from horovod_runner.frameworks.installed import require_installed
from horovod_runner.machine.process import follow, place_threads
from horovod_runner.machine.terminal import print_into, print_leniently, tell
from horovod_runner.machine.world import World, threads_for
from horovod_runner.results.store import RunFolder
from horovod_runner.training.reuse import Backends
from horovod_runner.training.worker import explained, train


def do(folder: RunFolder, world: World, backends: Backends) -> int:
    """Do the run in this folder; return the exit code of its worker, having said in its log why it is not 0."""
    try:
        _speak_into(folder)
        config = folder.read_config()
        require_installed(config)
        place_threads(threads_for(world, config.threads))
        return train(config, folder, world, tell, backends.load)
    except (Exception, KeyboardInterrupt) as error:
        return explained(error, world)


def _speak_into(folder: RunFolder) -> None:
    """Have all that this process prints, libraries in C included, go to the end of the run's log."""
    with folder.open_log() as log:
        print_into(log)


def main() -> int:
    """Do the runs that are named on standard input."""
    world, backends = World(local_size=int(sys.argv[1])), Backends(load_backend)
    follow(psutil.Process(os.getppid()))
    with os.fdopen(os.dup(1), "wb", buffering=0) as answers:
        print_leniently()
        for line in sys.stdin.buffer:
            code = do(RunFolder(Path(os.fsdecode(line.rstrip(b"\n")))), world, backends)
            answers.write(b"%d %b" % (code, line))
            if code not in (0, EXIT_DIVERGED):
                return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
