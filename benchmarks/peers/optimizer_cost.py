"""What do the layer-wise optimizers cost over plain SGD, in a whole training step?

`python -m benchmarks.peers.optimizer_cost --framework torch` trains three copies of ResNet-50 at 64 pixels, batch 16,
one thread, in one process: blocks of a few steps with sgd, lars and lamb in turn, all with weight decay, fed one batch
again and again. Prints for lars and lamb the median ratio to the block of sgd beside it; exit code 1 if one is above
1.10.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.data.batch import Batch
from horovod_runner.config.schema import RunConfig, decode
from horovod_runner.frameworks.base import Backend
from horovod_runner.machine.process import place_threads
from horovod_runner.machine.terminal import alone, tell
from horovod_runner.machine.world import World
from horovod_runner.results.store import Store
from horovod_runner.training.job import prepare
from horovod_runner.training.join import join

BLOCK = 5
MOST = 1.10
BASELINE, OTHERS = "sgd", ("lars", "lamb")
LEARNING_RATE = 1e-6


def main() -> int:
    """Measure and print; return 1 if an optimizer costs too much."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--framework", required=True)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--optimizers", nargs="+", default=OTHERS)
    given = parser.parse_args()
    place_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        medians = [
            _report(given.framework, name, ratios)
            for name, ratios in _ratios(given.framework, given.optimizers, given.blocks, Path(folder)).items()
        ]
    return int(max(medians) > MOST)


def _ratios(framework: str, optimizers: Sequence[str], blocks: int, results: Path) -> dict[str, list[float]]:
    """Return each optimizer's ratios to the baseline; the first block traces and allocates, and is left out."""
    backends = {name: _backend(framework, name, results) for name in (BASELINE, *optimizers)}
    batch = _batch(framework)
    seconds = [{name: _seconds(backend, batch) for name, backend in backends.items()} for _ in range(blocks + 1)]
    return {name: [block[name] / block[BASELINE] for block in seconds[1:]] for name in optimizers}


def _backend(framework: str, optimizer: str, results: Path) -> Backend:
    config = _config(framework, optimizer)
    return join(prepare(config), Store(results).open_run(config), World()).backend


def _config(framework: str, optimizer: str) -> RunConfig:
    plain = {"framework": framework, "data": {"name": "digits", "image_size": 64}, "local_batch": 16, "threads": 1}
    settings = {"name": optimizer, "weight_decay": 1e-4, "learning_rate": LEARNING_RATE}
    return decode({**plain, "steps": 1, "optimizer": settings}, "optimizer_cost")


def _batch(framework: str) -> Batch:
    with prepare(_config(framework, BASELINE)).train_batches(World()) as batches:
        return next(batches.iterate(0, 1))


def _seconds(backend: Backend, batch: Batch) -> float:
    began = time.perf_counter()
    for _ in range(BLOCK):
        backend.step(batch, LEARNING_RATE)
    return time.perf_counter() - began


def _report(framework: str, optimizer: str, ratios: list[float]) -> float:
    median = statistics.median(ratios)
    spread = f"median {median:.3f}, range {min(ratios):.3f} to {max(ratios):.3f}"
    tell(f"{framework}: step with {optimizer} / step with {BASELINE}, {spread}")
    return median


if __name__ == "__main__":
    sys.exit(alone(main))
