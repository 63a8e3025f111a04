"""A worker of which one rank is slow on purpose, run in place of horovod_runner.training.worker: FOLDER RANK SECONDS.

The slow rank is busy for so long in every step, before it computes.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from benchmarks.data.batch import Batch
from horovod_runner.frameworks.base import Backend, Job
from horovod_runner.frameworks.build import load_backend
from horovod_runner.results.store import RunFolder
from horovod_runner.training import worker


def main(folder: RunFolder, rank: int, seconds: float) -> int:
    """Do this rank's part of the run."""

    def slowed(job: Job) -> Backend:
        backend = load_backend(job)
        step = backend.step

        def busy_step(batch: Batch, learning_rate: float) -> float:
            until = time.perf_counter() + seconds
            while time.perf_counter() < until:
                pass
            return step(batch, learning_rate)

        if job.world.rank == rank:
            backend.step = busy_step  # type: ignore[method-assign]
        return backend

    worker.load_backend = slowed
    return worker.run_worker(folder.read_config(), folder)


if __name__ == "__main__":
    sys.exit(main(RunFolder(Path(sys.argv[1])), int(sys.argv[2]), float(sys.argv[3])))
