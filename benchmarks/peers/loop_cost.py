"""What does the suite's loop cost over a bare loop around the same step?

`python -m benchmarks.peers.loop_cost --framework torch` trains in blocks of twenty steps, in turn through the suite's
loop (batches
from the pipeline, timing, records exchanged and written to disk) and in a bare loop that feeds one batch again and
again. Both drive the same backend in the same process; whole blocks are timed from outside, pauses included. Prints
the median ratio of neighbouring blocks; exit code 1 if it is above 1.01.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from horovod_runner.config.schema import RunConfig, decode
from horovod_runner.machine.process import place_threads
from horovod_runner.machine.terminal import alone, tell
from horovod_runner.machine.world import World
from horovod_runner.results.store import Store
from horovod_runner.training.between_steps import pauses_of
from horovod_runner.training.job import prepare
from horovod_runner.training.join import join
from horovod_runner.training.loop import train
from horovod_runner.training.plan import Plan
from horovod_runner.training.recorder import Recorder
from horovod_runner.training.timing import StepTimer

BLOCK = 20
MOST = 1.01


def main() -> int:
    """Measure and print; return 1 if the loop costs too much."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--framework", required=True)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--blocks", type=int, default=12)
    given = parser.parse_args()
    place_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        ratios = _ratios(_config(given.framework, given.data, given.blocks), Path(folder), given.blocks)
    median = statistics.median(ratios)
    tell(f"{given.framework}: loop / bare loop, median {median:.4f}, range {min(ratios):.4f} to {max(ratios):.4f}")
    return int(median > MOST)


def _config(framework: str, data: str, blocks: int) -> RunConfig:
    size = {"name": data, "image_size": 64}
    plain = {"framework": framework, "data": size, "local_batch": 16, "steps": BLOCK * (blocks + 1), "threads": 1}
    return decode({**plain, "zero_init_last_gamma": True}, "loop_cost")


def _ratios(config: RunConfig, results: Path, blocks: int) -> list[float]:
    folder = Store(results).open_run(config)
    prepared = prepare(config)
    worker = join(prepared, folder, World())
    backend, pauses, batches = worker.backend, pauses_of(worker), prepared.train_batches(World())
    batch = next(batches.iterate(0, 1))
    recorder = Recorder(backend.gather_over_ranks, pauses.write, [], 1)
    whole = prepared.plan

    def ours(block: int) -> None:
        plan = Plan(whole.schedule, whole.steps_per_epoch, BLOCK * (block + 1), BLOCK * block, 0, 0)
        train(backend, plan, batches, recorder, pauses, StepTimer())

    def bare(block: int) -> None:
        for step in range(BLOCK):
            backend.step(batch, whole.schedule(BLOCK * block + step))

    ours(0)  # the first block traces and allocates
    return [_seconds(ours, block) / _seconds(bare, block) for block in range(1, blocks + 1)]


def _seconds(block: Callable[[int], None], number: int) -> float:
    began = time.perf_counter()
    block(number)
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(alone(main))
