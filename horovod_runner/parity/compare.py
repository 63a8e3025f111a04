"""The rows about one worker: the same parameters, the same function, the same trajectory, the same data.

Bounds. One operation in float64 is off by 1e-16; sums of some thousand terms in another order, through fifty layers of
which each normalisation divides by a deviation, reach 3e-13 forward and 1e-12 backward (measured). A trajectory
multiplies that at every step, some twofold in the settings used here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.architecture import Arrays
from horovod_runner.optimizers.rules import decayed_names
from horovod_runner.parity.rows import Row, relative, worst, worst_step
from horovod_runner.parity.settings import STEPS, trajectory
from horovod_runner.parity.sides import Side, Trajectory, moved

EXACT, FORWARD, BACKWARD, TRAJECTORY, SHARDS = 0.0, 1e-12, 1e-9, 1e-7, 1e-10
DECAY = 0.1
DECAY_STEPS = 1

Pair = tuple[Side, Side]
Plain = Mapping[str, Any]


def parameters(pair: Pair, label: str) -> list[Row]:
    """Return rows about names, shapes, counts and first bytes."""
    first, second = (side.backend.state() for side in pair)
    counts = [sum(array.size for name, array in state.items() if "/" not in name) for state in (first, second)]
    wrong = sorted(
        n
        for n in first.keys() | second.keys()
        if n not in first or n not in second or first[n].shape != second[n].shape
    )
    whole = f"{label}: names and shapes of {len(first)} arrays, {counts[0]:,} values in the model"
    bytes_differ = [name for name in first if name not in wrong and first[name].tobytes() != second[name].tobytes()]
    return [
        Row(claim="parameters", what=whole, difference=len(wrong) + abs(counts[0] - counts[1]), tolerance=EXACT,
            why="counted", where=wrong[0] if wrong else ""),
        Row(claim="parameters", what=f"{label}: first values, byte by byte", difference=len(bytes_differ),
            tolerance=EXACT, why="drawn once, in NumPy", where=bytes_differ[0] if bytes_differ else ""),
    ]  # fmt: skip


def decay(sides: tuple[Plain, Plain], label: str, frameworks: tuple[str, str]) -> list[Row]:
    """Return a row about weight decay: which arrays, how much, once.

    With plain SGD and no velocity yet, a step leaves gradient + decay * weight in the momentum slot. So two steps from
    the same weights, with the decay and without it, differ by exactly what was decayed.
    """
    found = [_decayed_by(framework, plain) for framework, plain in zip(frameworks, sides, strict=True)]
    difference, where = worst(*found)
    why = "differences of two gradients of order one, over the weights: some hundred roundings"
    return [Row(claim="parameters", what=f"{label}: what weight decay adds, array by array", difference=difference,
                tolerance=1e-11, why=why, where=where)]  # fmt: skip


def _decayed_by(framework: str, plain: Plain) -> Arrays:
    """Return for each parameter what one step adds on account of the decay that its settings ask for."""
    gradients, weights = [], {}
    for weight_decay in (plain["optimizer"]["weight_decay"], 0.0):
        optimizer = {**plain["optimizer"], "name": "sgd", "weight_decay": weight_decay}
        side = Side(framework, {**plain, "optimizer": optimizer})
        start = moved(side.architecture)
        side.backend.load_state(start)
        side.train(DECAY_STEPS)
        weights = {array.name: start[array.name] for array in side.architecture.trainable}
        gradients.append(side.backend.state_of([f"momentum/{name}" for name in weights]))
    return {name: gradients[0][f"momentum/{name}"] - gradients[1][f"momentum/{name}"] for name in weights}


def function(pair: Pair, label: str) -> list[Row]:
    """Return rows about the forward pass in both modes, the loss, every gradient and the running statistics."""
    batch = pair[0].first_batch()
    evaluated, trained, losses, gradients, statistics = [], [], [], [], []
    for side in pair:
        backend, names = side.backend, [array.name for array in side.architecture.statistics]
        backend.load_state(moved(side.architecture))
        evaluated.append(backend.evaluate(batch))
        trained.append(backend.evaluate(batch, training=True))
        backend.load_state(moved(side.architecture))
        losses.append(backend.step(batch, 0.0))
        gradients.append({k: v for k, v in backend.state().items() if k.startswith("momentum/")})
        statistics.append(backend.state_of(names))
    rounding, backward = "sums in another order, through all layers", "as forward, and back through every layer"
    rows = [
        Row(claim="function", what=f"{label}: logits in evaluation", difference=relative(*evaluated), tolerance=FORWARD, why=rounding),
        Row(claim="function", what=f"{label}: logits in training", difference=relative(*trained), tolerance=FORWARD, why=rounding),
        Row(claim="function", what=f"{label}: loss", difference=relative(*map(np.array, losses)), tolerance=FORWARD, why=rounding),
        _row("function", f"{label}: every gradient", worst(*gradients), BACKWARD, backward),
    ]  # fmt: skip
    if statistics[0]:
        rows.append(
            _row("function", f"{label}: running statistics after a step", worst(*statistics), FORWARD, rounding)
        )
    return rows


def same_trajectory(first: Trajectory, second: Trajectory, label: str, tolerance: float, why: str) -> list[Row]:
    """Return rows about the losses of all steps and everything the last one left, and about the data."""
    return [
        _row("trajectory", f"{label}: loss of {len(first.losses)} steps", worst_step(first.losses, second.losses), tolerance, why),
        _row("trajectory", f"{label}: weights, statistics and slots afterwards", worst(first.state, second.state), tolerance, why),
        same_batches(first, second, label),
    ]  # fmt: skip


def same_batches(first: Trajectory, second: Trajectory, label: str) -> Row:
    """Return a row that counts the steps whose global batches differ in a byte or in their order."""
    wrong = [step for step, (a, b) in enumerate(zip(first.marks, second.marks, strict=True), 1) if a != b]
    return Row(claim="data", what=f"{label}: hashes of {len(first.marks)} batches", difference=len(wrong), tolerance=EXACT,
               why="the same bytes in the same order", where=f"step {wrong[0]}" if wrong else "")  # fmt: skip


def _row(claim: Any, what: str, found: tuple[float, str], tolerance: float, why: str) -> Row:
    return Row(claim=claim, what=what, difference=found[0], where=found[1], tolerance=tolerance, why=why)


def one_workload(workload: str) -> list[Row]:
    """Return the rows about a workload's parameters and function in both frameworks."""
    plain = trajectory(workload, "sgd")
    probing = {**plain, "optimizer": {"name": "sgd", "weight_decay": DECAY}}
    bare = {**plain, "optimizer": {"name": "sgd"}}
    pair = (Side("tensorflow", bare), Side("torch", bare))
    rows = parameters(pair, workload) + decay((probing, probing), workload, ("tensorflow", "torch"))
    arrays = pair[0].architecture.trainable
    spared = {a.name for a in arrays if not a.is_kernel}
    named = decayed_names(arrays, pair[0].config.optimizer.model_copy(update={"weight_decay": DECAY}))
    rows.append(
        Row(
            claim="parameters",
            what=f"{workload}: biases and normalisation that weight decay reaches",
            difference=len(spared & named),
            tolerance=EXACT,
            why="counted; kernels alone are decayed",
        )  # fmt: skip
    )
    return rows + function(pair, workload)


def one_trajectory(workload: str, optimizer: str, steps: int = STEPS) -> list[Row]:
    """Return the rows about one trajectory in both frameworks."""
    plain = trajectory(workload, optimizer)
    first, second = (Side(framework, plain).train(steps) for framework in ("tensorflow", "torch"))
    why = "1e-16 a step, multiplied by every step that follows"
    return same_trajectory(first, second, f"{workload}, {optimizer}", TRAJECTORY, why)
