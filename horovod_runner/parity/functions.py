"""The rows about what a job computes: outputs, loss, gradients and statistics of one step, in every precision.

A default hides what it multiplies by one, and a symmetric input hides a swap. So the settings here hide nothing: every
channel of an image has noise of its own, some examples weigh nothing and others a fraction, targets are smoothed, Dice
has a weight, maps have odd sizes wherever a model admits them, and VGG has its published classifier.

Precision decides which code runs: normalisation has a kernel for 16 and 32 bits and is written out for 64. So the rows
are made in all three. Two rounded results are compared by what their examples differ in (`apart`): a network's output
is mostly the last layer's bias, the same for every image, and over that a break would look small.

Bounds. Clean runs were measured at width 8; each bound is some ten times what the worst of the three models needed, and
in 16 bits three times, where rounding itself is large. What two breaks on the kernel's path come to (an epsilon of 1e-3
for 1e-5, a biased running variance) stands beside them in the tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from benchmarks.architecture import Arrays
from benchmarks.data.batch import Batch
from horovod_runner.parity.rows import Row, relative, worst
from horovod_runner.parity.settings import plain
from horovod_runner.parity.sides import Pair, Side, both, moved

SLOT = "momentum/"
PRECISIONS = ("float64", "float32", "bfloat16")

_CASES: dict[str, dict[str, Any]] = {
    "resnet50": {"data": {"name": "synthetic", "image_size": 75, "channels": 3}},
    "unet": {"data": {"name": "synthetic", "image_size": 48, "channels": 3}},
    "vgg16": {"data": {"name": "synthetic", "image_size": 75, "channels": 3}, "classifier": "full"},
}
_LOSS = {"label_smoothing": 0.1, "dice_weight": 0.3}
_WEIGHTS = np.array([1, 0, 0.5, 0.25, 1, 0.75, 0, 1], np.float32)


class Bounds(NamedTuple):
    """How far two frameworks may be apart in one precision.

    `gradients` holds for the worst array, or, where single arrays are mostly rounding, for all of them as one vector.
    """

    logits: float
    loss: float
    gradients: float
    statistics: float
    why: str
    as_one_vector: bool = False


BOUNDS = {
    "float64": Bounds(5e-12, 1e-14, 1e-11, 5e-13, "sums of thousands of terms in another order"),
    "float32": Bounds(6e-5, 1e-6, 6e-4, 4e-6, "as in float64, with 24 bits; some arrays are sums that cancel"),
    "bfloat16": Bounds(3e-1, 1e-4, 4e-1, 4e-3, "8 bits, and each framework rounds between other layers", True),
}


@dataclass(frozen=True)
class Computed:
    """What one step computes from given weights, in one framework."""

    evaluated: np.ndarray
    trained: np.ndarray
    loss: float
    gradients: Arrays
    statistics: Arrays


def in_precision(workload: str, precision: str, **changes: Any) -> dict[str, Any]:
    """Return a job's settings in which nothing is hidden, with an optimizer that leaves the gradients to be read."""
    bare = {"name": "sgd", "weight_decay": 0.0}
    return plain(workload, **{**_CASES[workload], "loss": _LOSS, "precision": precision, "optimizer": bare, **changes})


def telling(batch: Batch) -> Batch:
    """Return the batch with other noise in every channel, and with examples that weigh nothing or a fraction."""
    noise = np.random.default_rng(5).standard_normal(batch.images.shape, dtype=np.float32)
    scales = np.linspace(0.3, 0.9, batch.images.shape[-1], dtype=np.float32)
    return replace(batch, images=batch.images + noise * scales, weights=np.resize(_WEIGHTS, len(batch)))


def computed(side: Side, batch: Batch) -> Computed:
    """Return what this side computes of the batch; a step of rate 0 leaves the gradients in the momentum slots."""
    backend, names = side.backend, [array.name for array in side.architecture.statistics]
    side.restart()
    backend.load_state(moved(side.architecture))
    evaluated = backend.evaluate(batch)
    trained = backend.evaluate(batch, training=True)
    backend.load_state(moved(side.architecture))
    loss = backend.step(batch, 0.0)
    gradients = {name: value for name, value in backend.state().items() if name.startswith(SLOT)}
    return Computed(evaluated, trained, loss, gradients, backend.state_of(names))


def in_every_precision(workload: str) -> list[Row]:
    """Return the rows about a workload in all precisions."""
    return [row for precision in PRECISIONS for row in function(both(in_precision(workload, precision)), workload)]


def function(pair: Pair, label: str) -> list[Row]:
    """Return the rows about both forward passes, the loss, every gradient and the running statistics."""
    precision = pair[0].config.precision
    batch = telling(pair[0].first_batch())
    first, second = (computed(side, batch) for side in pair)
    return list(_rows(first, second, f"{label}, {precision}", BOUNDS[precision]))


def _rows(a: Computed, b: Computed, label: str, bounds: Bounds) -> Iterator[Row]:
    def row(what: str, found: tuple[float, str], tolerance: float) -> Row:
        return Row(claim="function", what=f"{label}: {what}", difference=found[0], where=found[1],
                   tolerance=tolerance, why=bounds.why)  # fmt: skip

    yield row("logits in evaluation", (apart(a.evaluated, b.evaluated), ""), bounds.logits)
    yield row("logits in training", (apart(a.trained, b.trained), ""), bounds.logits)
    yield row("loss", (relative(np.array(a.loss), np.array(b.loss)), ""), bounds.loss)
    if bounds.as_one_vector:
        yield row("the gradient as one vector", (distance(a.gradients, b.gradients), ""), bounds.gradients)
    else:
        yield row("every gradient", worst(a.gradients, b.gradients), bounds.gradients)
    if a.statistics or b.statistics:
        yield row("running statistics after a step", worst(a.statistics, b.statistics), bounds.statistics)


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest difference over the largest deviation of an example from the mean of all (axis 0).

    Infinite where shapes differ, where something is not a number, and where all examples are alike.
    """
    if a.shape != b.shape:
        return np.inf
    a, b = a.astype(np.float64), b.astype(np.float64)
    spread = float(np.abs(a - a.mean(axis=0)).max())
    difference = float(np.abs(a - b).max())
    return difference / spread if np.isfinite(difference) and spread > 0 else np.inf


def distance(a: Arrays, b: Arrays) -> float:
    """Return the norm of the difference of two sets of arrays over the norm of the first; infinite as `apart` is."""
    if a.keys() != b.keys() or any(a[name].shape != b[name].shape for name in a):
        return np.inf
    norm, between = (float(np.sqrt(sum(np.square(part, dtype=np.float64).sum() for part in parts)))
                     for parts in (a.values(), [a[name] - b[name] for name in a]))  # fmt: skip
    return between / norm if np.isfinite(between) and norm > 0 else np.inf
