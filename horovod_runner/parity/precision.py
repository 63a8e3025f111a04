"""The rows about training in float32, the precision that runs have: how far apart rounding drives the frameworks.

Two frameworks round alike nowhere, so float32 curves part. In the first steps they part by rounding alone, and a bound
on the distance still says something; later the question is whether they part further than a framework does from itself
when one bit of each image of the first batch is flipped. What it comes to at the end of training is a matter of
statistics, and a study of its own (benchmarks/experiments/equivalence.yaml).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.architecture import Arrays
from benchmarks.data.batch import Batch
from horovod_runner.config.frameworks import PAIR
from horovod_runner.parity.functions import SLOT, distance, in_precision
from horovod_runner.parity.rows import Row
from horovod_runner.parity.settings import off_defaults, plain
from horovod_runner.parity.sides import Side, both

MOST_TIMES = 3.0
DRIFT_STEPS = (1, 2, 5, 10, 20, 40)
EARLY_STEPS = 5
EARLY = {"resnet50": 2e-6, "unet": 1e-2, "vgg16": 5e-6}
"""Ten times what clean runs need: 1.3e-7, 9e-4 (its gradients alone differ by 6e-6 at the first step) and 3e-7."""

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
    return [early(workload), row], {"step": [float(step) for step in DRIFT_STEPS], **curves}


def early(workload: str) -> Row:
    """Return the row about the first steps: the velocities of SGD after them, which sum up all gradients so far.

    Not weights, which a few steps move by little more than their own rounding; not under Adam, which moves an entry
    whose gradient is rounding alone by the full rate; and not on scenes, where rounding decides which of many equal
    background pixels a pooling takes.
    """
    identity = {"zero_init_last_gamma": workload == "resnet50"}  # fifty layers begin as a few, and amplify little
    first, second = (
        {name: slot for name, slot in side.train(EARLY_STEPS).state.items() if name.startswith(SLOT)}
        for side in both(in_precision(workload, "float32", optimizer=off_defaults("sgd", rate=0.1), **identity))
    )
    return Row(
        claim="float32",
        what=f"{workload}, sgd: velocities after {EARLY_STEPS} steps, as one vector",
        difference=distance(first, second),
        tolerance=EARLY[workload],
        why="24 bits, and a little more at every step",
    )


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
