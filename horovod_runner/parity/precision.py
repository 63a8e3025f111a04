"""The rows about float32, the precision that runs have: how far apart rounding drives the frameworks, and what it comes
to at the end of training.

Two frameworks round alike nowhere, so float32 curves part; the question is whether they part further than a framework
does from itself when one bit of each image of the first batch is flipped. The ratio of the two is the figure to quote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.architecture import Arrays
from benchmarks.data.batch import Batch
from horovod_runner.config.frameworks import PAIR
from horovod_runner.parity.rows import Row
from horovod_runner.parity.settings import plain
from horovod_runner.parity.sides import Side
from horovod_runner.statistics.equivalence import equivalence
from horovod_runner.statistics.interval import LEVEL

MOST_TIMES = 3.0
DRIFT_STEPS = (1, 2, 5, 10, 20, 40)
END_STEPS = 150

# Stated before anything was measured. Loss: how far two validation losses may be apart on average, as a ratio. Metric:
# in its own unit, where 0.02 is two examples (or pixels) in a hundred.
LOSS_MARGIN = float(np.log(1.10))
METRIC_MARGIN = 0.02

Drift = dict[str, list[float]]


def settings(workload: str, **changes: Any) -> dict[str, Any]:
    """Return the small job in float32 with its usual optimizer."""
    usual = {"optimizer": {}, "precision": "float32", "loss": {}, **changes}
    return plain(workload, **usual)


def drift(workload: str, seeds: Sequence[int]) -> tuple[list[Row], dict[str, list[float]]]:
    """Return the row about float32's drift, and the curves: distances after DRIFT_STEPS, medians over the seeds.

    A distance is the norm of the difference of all weights over the norm of the weights.
    """
    sides = {framework: Side(framework, settings(workload, steps=DRIFT_STEPS[-1])) for framework in PAIR}
    per_seed = [_drifts(sides, seed) for seed in seeds]
    curves = {name: np.median([found[name] for found in per_seed], axis=0).tolist() for name in per_seed[0]}
    ratios = [f["between"][-1] / max(f[f"{framework} itself"][-1] for framework in PAIR) for f in per_seed]
    row = Row(
        claim="float32",
        what=f"{workload}: drift between frameworks over a framework's own after one flipped bit, {DRIFT_STEPS[-1]}"
        f" steps, median of {len(seeds)} seeds",
        difference=float(np.median(ratios)),
        tolerance=MOST_TIMES,
        why=f"rounding, not arithmetic; of {len(seeds)} seeds {min(ratios):.2f} to {max(ratios):.2f}",
    )
    return [row], {"step": [float(step) for step in DRIFT_STEPS], **curves}


def _drifts(sides: Mapping[str, Side], seed: int) -> Drift:
    clean = {framework: _snapshots(side, seed, flip=False) for framework, side in sides.items()}
    flipped = {framework: _snapshots(side, seed, flip=True) for framework, side in sides.items()}
    found = {f"{framework} itself": _distances(clean[framework], flipped[framework]) for framework in sides}
    return found | {"between": _distances(*(clean[framework] for framework in PAIR))}


def _snapshots(side: Side, seed: int, *, flip: bool) -> list[Arrays]:
    """Return the weights after each of DRIFT_STEPS."""
    side.restart(seed)
    names = [array.name for array in side.architecture.trainable]
    return [side.backend.state_of(names) for step in _steps(side, flip=flip) if step in DRIFT_STEPS]


def _steps(side: Side, *, flip: bool) -> Any:
    """Train, and yield the number of each step after it."""
    schedule = side.schedule
    for step, batch in enumerate(side.batches(DRIFT_STEPS[-1])):
        side.backend.step(flip_one_bit(batch) if flip and step == 0 else batch, schedule(step))
        yield step + 1


def flip_one_bit(batch: Batch) -> Batch:
    """Return the batch with the last bit of each image's largest pixel flipped.

    In one image alone, the first layers' rounding may swallow it.
    """
    images = batch.images.copy()
    pixels = images.reshape(len(images), -1)
    pixels.view(np.int32)[np.arange(len(pixels)), np.abs(pixels).argmax(axis=1)] ^= 1
    return replace(batch, images=images)


def _distances(first: Sequence[Arrays], second: Sequence[Arrays]) -> list[float]:
    return [_norm({k: a[k] - b[k] for k in a}) / _norm(a) for a, b in zip(first, second, strict=True)]


def _norm(arrays: Arrays) -> float:
    return float(np.sqrt(sum(np.square(array, dtype=np.float64).sum() for array in arrays.values())))


def end_of_training(workload: str, seeds: Sequence[int]) -> tuple[list[Row], dict[str, list[float]]]:
    """Return the rows of the equivalence tests on validation loss and metric, and all seeds' figures."""
    ends = {framework: _ends(framework, workload, seeds) for framework in PAIR}
    losses = [np.log(ends[framework][:, 0]) for framework in PAIR]
    metrics = [ends[framework][:, 1] for framework in PAIR]
    rows = [
        _equivalent(f"{workload}: validation loss after {END_STEPS} steps", losses[0] - losses[1], LOSS_MARGIN, "10 %"),
        _equivalent(
            f"{workload}: validation metric after {END_STEPS} steps", metrics[0] - metrics[1], METRIC_MARGIN, "0.02"
        ),
    ]
    figures = {f"{framework} {name}": ends[framework][:, column].tolist()
               for framework in PAIR for column, name in enumerate(("loss", "metric"))}  # fmt: skip
    return rows, {"seed": [float(seed) for seed in seeds], **figures}


def _ends(framework: str, workload: str, seeds: Sequence[int]) -> np.ndarray:
    """Return (seeds, 2): validation loss and metric at the end of training."""
    side = Side(framework, _longer(workload))
    found = []
    for seed in seeds:
        side.restart(seed)
        side.train(END_STEPS)
        found.append(side.validate())
    return np.array(found)


def _longer(workload: str) -> dict[str, Any]:
    """Return a job that gets somewhere: larger batches, warmup, and a rate that ends at zero: quiet ends."""
    data = {"name": "digit_scenes", "image_size": 32, "examples": 512} if workload == "unet" else {"image_size": 32}
    schedule = {"warmup": "from_zero", "warmup_epochs": 0.2, "decay": "cosine"}
    batch = 16 if workload == "unet" else 32
    return settings(workload, steps=END_STEPS, data=data, global_batch=batch, schedule=schedule)


def _equivalent(what: str, differences: np.ndarray, margin: float, said: str) -> Row:
    found = equivalence(differences, margin)
    return Row(
        claim="end",
        what=f"{what}: two one-sided tests, {len(differences)} seeds, margin {said}, p",
        difference=found.p,
        tolerance=LEVEL,
        why=f"paired by seed; mean difference {found.mean:+.4f}, 90 % interval {found.low:+.4f} to {found.high:+.4f}",
    )
