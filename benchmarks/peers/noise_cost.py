"""What does measuring the gradient noise scale cost?

`python -m benchmarks.peers.noise_cost` runs the suite with two workers (plain-2) and with one that trains on four
virtual workers' shards in a step (plain-1x4), and both with `noise_scale` (noise-2, noise-1x4), in random order, round
after round. Ratios of images a second are taken within a round, and their median and range are printed: measuring over
not measuring should be at least 1 / 1.03. ResNet-50, synthetic 64x64 images, 16 a worker, one thread a worker.
`--out FILE` keeps the rounds, and goes on from those it finds.

`--blocks N` measures one worker alone instead, in one process: blocks of few steps with and without in turn, which a
drifting machine hits alike, so that a percent shows; the reduction, which is the same in both, is not in it.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.data.batch import Batch
from benchmarks.peers import arms
from benchmarks.peers.rounds import Rounds, Sample, parser, spread
from benchmarks.peers.speed import print_ratios
from horovod_runner.backend import Backend
from horovod_runner.config import decode
from horovod_runner.store import Store
from horovod_runner.training import Training
from horovod_runner.worker import place_threads
from horovod_runner.world import World

VIRTUAL = 4
ON = "noise_scale=true"
ARMS: dict[str, tuple[int, tuple[str, ...]]] = {
    "plain-2": (2, ()),
    "noise-2": (2, (ON,)),
    "plain-1x4": (1, (f"virtual_workers={VIRTUAL}",)),
    "noise-1x4": (1, (f"virtual_workers={VIRTUAL}", ON)),
}
MOST = 1.03
TARGETS = {("noise-2", "plain-2"): 1 / MOST, ("noise-1x4", "plain-1x4"): 1 / MOST}
BLOCK = 2
LEARNING_RATE = 1e-6


def main() -> int:
    """Measure and print; return 1 if a median misses its target."""
    made = parser(__doc__)
    made.add_argument("--blocks", type=int, help="pairs of blocks of one worker, in this process")
    given = made.parse_args()
    return _alone(given) if given.blocks else _in_rounds(given)


def _in_rounds(given: argparse.Namespace) -> int:
    def measure(framework: str, arm: str) -> Sample:
        workers, settings = ARMS[arm]
        length = max(10, given.steps // VIRTUAL) if arm.endswith(f"x{VIRTUAL}") else given.steps
        return arms.suite(framework, workers, length, settings)

    rounds = Rounds({"steps": given.steps}, given.out)
    rounds.measure({framework: list(ARMS) for framework in given.frameworks}, measure, given.rounds)
    return print_ratios(rounds, given.frameworks, TARGETS)


def _alone(given: argparse.Namespace) -> int:
    """Print the ratios of neighbouring blocks' seconds; one framework a process, for both place its threads."""
    place_threads(1)
    missed = False
    for framework in given.frameworks:
        with tempfile.TemporaryDirectory() as folder:
            ratios = _ratios(framework, given.blocks, Path(folder))
        print(f"{framework}: step with / without, {VIRTUAL} virtual workers: {spread(ratios)}  at most {MOST}")
        missed |= statistics.median(ratios) > MOST
    return int(missed)


def _ratios(framework: str, blocks: int, results: Path) -> list[float]:
    """Return measuring over not measuring; the first pair traces and allocates, and is left out."""
    trainings = [_training(framework, on, results) for on in (True, False)]
    backends = [training.join() for training in trainings]
    with contextlib.closing(trainings[0].batches()) as batches:
        batch = next(batches.iterate(0, 1))
    pairs = [_pair(backends, batch, number) for number in range(blocks + 1)]
    return [on / off for on, off in pairs[1:]]


def _training(framework: str, on: bool, results: Path) -> Training:
    job = {"framework": framework, "data": {"name": "digits", "image_size": arms.IMAGE_SIZE}, "local_batch": 16}
    config = decode({**job, "threads": 1, "steps": 1, "virtual_workers": VIRTUAL, "noise_scale": on}, "noise_cost")
    return Training(config, Store(results).open_run(config), World(), lambda line: None)


def _pair(backends: Sequence[Backend], batch: Batch, number: int) -> list[float]:
    """Return a block's seconds of each backend; every other pair goes the other way round."""
    seconds = [0.0, 0.0]
    for which in (0, 1) if number % 2 else (1, 0):
        began = time.perf_counter()
        for _ in range(BLOCK):
            backends[which].step(batch, LEARNING_RATE)
        seconds[which] = time.perf_counter() - began
    return seconds


if __name__ == "__main__":
    sys.exit(main())
