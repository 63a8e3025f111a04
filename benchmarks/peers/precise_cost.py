"""What does a validation with precise statistics cost?

`python -m benchmarks.peers.precise_cost` trains ResNet-50 of 16 channels on digits, on one thread. By turns it
validates the same model with running and with precise statistics, and times training steps. Prints for each framework
the median and the range over rounds: of the ratio of the two validations, and of what the precise one adds to an epoch
(its steps and a validation with running statistics).
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.peers.rounds import parser, spread
from horovod_runner.config.schema import RunConfig, decode
from horovod_runner.machine.process import place_threads
from horovod_runner.machine.terminal import alone, tell
from horovod_runner.machine.world import World
from horovod_runner.results.store import RunFolder
from horovod_runner.training.job import prepare
from horovod_runner.training.join import join
from horovod_runner.training.validation import validate

LEARNING_RATE = 1e-6


def main() -> int:
    """Measure and print."""
    given = parser(__doc__).parse_args()
    place_threads(1)
    for framework in given.frameworks:
        ratios, shares = _measured(framework, given.rounds, given.steps)
        tell(f"{framework}: validation with precise statistics / with running ones  {spread(ratios)}")
        tell(f"{framework}: what that adds, as a share of an epoch  {spread(shares)}")
    return 0


def _measured(framework: str, rounds: int, steps: int) -> tuple[list[float], list[float]]:
    """Return by round: the ratio of the validations, and the share of an epoch; the first round traces, and is out."""
    running, precise = (prepare(_config(framework, statistics)) for statistics in ("running", "precise"))
    world = World()
    with tempfile.TemporaryDirectory() as folder:
        backend = join(running, RunFolder(Path(folder)), world).backend
        with running.train_batches(world) as batches:
            batch = next(batches.iterate(0, 1))
        ratios, shares = [], []
        for number in range(rounds + 1):
            turns = (running, precise) if number % 2 else (precise, running)
            took = {id(prepared): _seconds(partial(validate, backend, prepared, world)) for prepared in turns}
            step = _seconds(lambda: [backend.step(batch, LEARNING_RATE) for _ in range(steps)]) / steps
            plain, more = took[id(running)], took[id(precise)]
            ratios.append(more / plain)
            shares.append((more - plain) / (running.plan.steps_per_epoch * step + plain))
        backend.close()
    return ratios[1:], shares[1:]


def _config(framework: str, statistics: str) -> RunConfig:
    job = {"framework": framework, "width": 16, "data": {"name": "digits", "image_size": 32}, "epochs": 1}
    return decode({**job, "threads": 1, "validation_statistics": statistics}, "precise_cost")


def _seconds(what: Callable[[], Any]) -> float:
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(alone(main))
