"""What does measuring the gradient noise scale cost?

`python -m benchmarks.peers.noise_cost` trains ResNet-50 with and without `noise_scale` on two workers, and on one that
has four virtual ones, one thread each, 64x64 images, 16 a shard. Both trainings live in the same processes and take
turns, block by block of few steps, so that a drifting machine hits both alike; the reduction is in both. Prints the
median ratio of neighbouring blocks of the slower worker; exit code 1 if one is above 1.03.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.data.batch import Batch
from benchmarks.peers import arms
from benchmarks.peers.rounds import spread
from horovod_runner.config.frameworks import PAIR
from horovod_runner.config.machine import Machine
from horovod_runner.config.schema import RunConfig, decode
from horovod_runner.frameworks.base import Backend
from horovod_runner.launch.launchers import Start, command
from horovod_runner.machine.process import place_threads
from horovod_runner.machine.terminal import alone, tell
from horovod_runner.machine.world import detect
from horovod_runner.results.store import RunFolder
from horovod_runner.training.job import prepare
from horovod_runner.training.join import join

SHAPES = {"2 workers": (2, 1), "4 virtual workers": (1, 4)}
MOST = 1.03
BLOCK = 4  # shards that a worker trains on between two turns
LEARNING_RATE = 1e-6


def main() -> int:
    """Measure and print; return 1 if measuring costs too much."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--frameworks", nargs="+", default=list(PAIR), choices=PAIR)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--rank", nargs=2, metavar=("VIRTUAL", "OUT"), help="be one rank of a measurement")
    given = parser.parse_args()
    if given.rank:
        _be_rank(given.frameworks[0], int(given.rank[0]), given.blocks, Path(given.rank[1]))
        return 0
    medians = [_report(framework, shape, given.blocks) for framework in given.frameworks for shape in SHAPES]
    return int(max(medians) > MOST)


def _report(framework: str, shape: str, blocks: int) -> float:
    workers, virtual = SHAPES[shape]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "0.json"
        argv = [sys.executable, "-m", "benchmarks.peers.noise_cost", "--frameworks", framework]
        argv += ["--blocks", str(blocks), "--rank", str(virtual), str(out)]
        arms.together([command(_config(framework, workers, virtual, True), argv, Start(workers, Machine()))])
        ratios = json.loads(out.read_text())
    tell(f"{framework}, {shape}: step with noise_scale / without  {spread(ratios)}  at most {MOST}")
    return statistics.median(ratios)


def _config(framework: str, workers: int, virtual: int, on: bool) -> RunConfig:
    """Return a run; Horovod's cache would take an operation of one training for that of the other."""
    job = {"framework": framework, "data": {"name": "digits", "image_size": arms.IMAGE_SIZE}, "local_batch": 16}
    how = {"workers": workers, "virtual_workers": virtual, "allreduce": {"controller": "mpi", "cache": False}}
    return decode({**job, **how, "threads": 1, "steps": 1, "noise_scale": on}, "noise_cost")


def _be_rank(framework: str, virtual: int, blocks: int, out: Path) -> None:
    """Write the ratios of neighbouring blocks; the first pair traces and allocates, and is left out."""
    place_threads(1)
    world = detect()
    folder = RunFolder(out.parent / "run")
    configs = [_config(framework, world.size, virtual, on) for on in (True, False)]
    jobs = [prepare(config) for config in configs]
    backends = [join(job, folder, world).backend for job in jobs]
    with jobs[0].train_batches(world) as batches:
        batch = next(batches.iterate(0, 1))
    pairs = np.array([_pair(backends, batch, BLOCK // virtual, number) for number in range(blocks + 1)])
    slowest = backends[0].gather_over_ranks(pairs.ravel()).reshape(-1, *pairs.shape).max(axis=0)[1:]
    if world.rank == 0:
        out.write_text(json.dumps((slowest[:, 0] / slowest[:, 1]).tolist()))
    backends[-1].close()


def _pair(backends: Sequence[Backend], batch: Batch, steps: int, number: int) -> list[float]:
    """Return a block's seconds of each backend; every other pair goes the other way round."""
    seconds = [0.0, 0.0]
    for which in (0, 1) if number % 2 else (1, 0):
        began = time.perf_counter()
        for _ in range(steps):
            backends[which].step(batch, LEARNING_RATE)
        seconds[which] = time.perf_counter() - began
    return seconds


if __name__ == "__main__":
    sys.exit(alone(main))
