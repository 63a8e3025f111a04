"""The rows about precise statistics: what batch normalisation is validated with, against plain NumPy.

The models by a second hand (second_hand.py) are run over the epoch's first training batches, group by group; the
statistics are the means over groups, and the validation is worked out with them, example by example.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from benchmarks.architecture import Arrays
from benchmarks.data.dataset import Split
from horovod_runner.config.schema import RunConfig
from horovod_runner.parity.rows import Claim, Row, worst
from horovod_runner.parity.second_hand import MODELS, Functions
from horovod_runner.parity.settings import plain
from horovod_runner.parity.shared import ByHand, figures_by_hand
from horovod_runner.parity.sides import Trajectory, both, moved
from horovod_runner.training.job import prepare

BOUND = 1e-11
WHY = "sums of thousands of terms in another order"
SETTINGS: dict[str, Any] = {"validation_statistics": "precise", "precise_examples": 20}


class Precise(NamedTuple):
    """Statistics of normalisation, and the validation with them."""

    statistics: Arrays
    figures: ByHand


def by_hand(config: RunConfig, arrays: Arrays, groups: int) -> Precise:
    """Return what plain NumPy makes of these weights, each global batch being normalised in so many groups."""
    data, model = prepare(config).data, MODELS[config.workload]
    images, _ = _read(data.train, _first_batches(config, len(data.train)))
    running = {name: np.zeros_like(array) for name, array in arrays.items() if ".running_" in name}
    taken = []
    for group in np.split(images, len(images) // (config.global_batch or 1) * groups):
        functions = Functions({**arrays, **running}, training=True)
        model(functions, group)
        taken.append({name: array / 0.1 for name, array in functions.statistics().items()})  # 0.9 * 0 + 0.1 * taken
    statistics = {name: np.mean([each[name] for each in taken], axis=0) for name in running}
    images, targets = _read(data.validation, np.arange(len(data.validation)))
    logits = model(Functions({**arrays, **statistics}, training=False), images)
    return Precise(statistics, figures_by_hand(config.job.task, logits, targets, config.loss))


def _first_batches(config: RunConfig, examples: int) -> np.ndarray:
    """Return the examples of the whole batches that hold `precise_examples`, in the first epoch's order."""
    batch = config.global_batch or 1
    count = -(-config.precise_examples // batch)
    return np.random.default_rng([config.seed, 0]).permutation(examples)[: count * batch]


def _read(split: Split, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    read = [split.read(int(index), None) for index in indices]
    return np.stack([image for image, _ in read]).astype(np.float64), np.stack([target for _, target in read])


def on_one_worker(workload: str) -> list[Row]:
    """Return the rows of one worker, which stands for two: the statistics themselves, and a validation with them."""
    rows = []
    for side in both(plain(workload, global_batch=8, virtual_workers=2, **SETTINGS)):
        arrays = moved(side.architecture)
        side.backend.load_state(arrays)
        expected, label = by_hand(side.config, arrays, groups=2), f"{workload}, {side.config.framework}: precise"
        found, validated = worst(expected.statistics, side.statistics_to_validate_with()), side.validate()
        rows.append(_row("shared", f"{label} statistics of 3 batches in 2 groups", found))
        rows.append(_validation("shared", f"{label} validation", expected, validated.loss, validated.metric))
        left = worst(side.backend.state_of(list(expected.statistics)), {n: arrays[n] for n in expected.statistics})
        rows.append(_row("shared", f"{label} statistics leave the running ones", left, bound=0, why="untouched"))
    return rows


def on_workers(name: str, config: RunConfig, run: Trajectory) -> Row:
    """Return the row of a finished run of several workers with their own statistics: its last validation."""
    arrays = {array.name: run.state[array.name] for array in prepare(config).architecture.arrays}
    expected = by_hand(config, arrays, groups=config.workers)
    what = f"{name}, {config.workers} workers: validation with precise statistics"
    return _validation("workers", what, expected, *run.validated[-2:])


def _validation(claim: Claim, what: str, expected: Precise, loss: float, metric: float) -> Row:
    found = {"loss": np.array(loss), "metric": np.array(metric)}
    by_hand = {"loss": np.array(expected.figures.loss), "metric": np.array(expected.figures.metric)}
    return _row(claim, what, worst(by_hand, found))


def _row(claim: Claim, what: str, found: tuple[float, str], bound: float = BOUND, why: str = WHY) -> Row:
    where = found[1]
    return Row(claim=claim, what=f"{what} = plain NumPy's" if bound else what, difference=found[0], where=where,
               tolerance=bound, why=why)  # fmt: skip
