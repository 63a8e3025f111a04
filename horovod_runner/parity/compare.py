"""The rows about one worker: the same parameters, the same trajectory, the same data.

Bounds. A gradient in float64 is off by 1e-13 (functions.py). A trajectory of twenty steps multiplies that in the
settings used here to 1e-12, measured over all models and optimizers; its bound is a thousand times as much, and a
thousandth of what the weakest known break comes to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.architecture import Arrays
from horovod_runner.optimizers.rules import decayed_names
from horovod_runner.parity.functions import SLOT
from horovod_runner.parity.rows import Claim, Row, worst, worst_step
from horovod_runner.parity.settings import STEPS, trajectory
from horovod_runner.parity.sides import Pair, Side, Trajectory, both, moved

EXACT, TRAJECTORY, DECAYED = 0.0, 1e-9, 1e-11
DECAY = 0.1

Plain = Mapping[str, Any]


def parameters(pair: Pair, label: str) -> list[Row]:
    """Return rows about names, shapes, counts and first bytes."""
    first, second = (side.backend.state() for side in pair)
    counts = [sum(array.size for name, array in state.items() if "/" not in name) for state in (first, second)]
    common = [name for name in first if name in second and first[name].shape == second[name].shape]
    strangers = sorted((first.keys() | second.keys()) - set(common))
    what = f"{label}: names and shapes of {len(first)} arrays, {counts[0]:,} values in the model"
    different = [name for name in common if first[name].tobytes() != second[name].tobytes()]
    return [
        _count("parameters", what, strangers, "counted"),
        _count("parameters", f"{label}: first values, byte by byte", different, "drawn once, in NumPy"),
    ]


def decay(decaying: Pair, bare: Pair, label: str) -> Row:
    """Return the row about weight decay: which arrays, how much, once.

    With SGD and no velocity yet, a step leaves gradient + decay * weight in the momentum slot. So a step with decay and
    one without it, from the same weights, differ by exactly what was decayed.
    """
    found = [_decayed(*sides) for sides in zip(decaying, bare, strict=True)]
    why = "differences of two gradients of order one, over the weights: some hundred roundings"
    return _row("parameters", f"{label}: what weight decay adds, array by array", worst(*found), DECAYED, why)


def _decayed(decaying: Side, bare: Side) -> Arrays:
    """Return for each parameter what one step adds on account of the decay."""
    slots = []
    for side in (decaying, bare):
        side.restart()
        side.backend.load_state(moved(side.architecture))
        side.backend.step(side.first_batch(), 0.0)
        slots.append({name: value for name, value in side.backend.state().items() if name.startswith(SLOT)})
    return {name: slots[0][name] - slots[1][name] for name in slots[0]}


def same_trajectory(first: Trajectory, second: Trajectory, label: str, tolerance: float, why: str) -> list[Row]:
    """Return rows about the losses of all steps, everything the last one left, and the data."""
    losses, states = worst_step(first.losses, second.losses), worst(first.state, second.state)
    return [
        _row("trajectory", f"{label}: loss of {len(first.losses)} steps", losses, tolerance, why),
        _row("trajectory", f"{label}: weights, statistics and slots afterwards", states, tolerance, why),
        same_batches([first, second], label),
    ]


def same_batches(runs: Sequence[Trajectory], label: str) -> Row:
    """Return a row that counts the steps at which a run's global batch differs, in a byte or in its order."""
    steps = zip(*(run.fingerprints for run in runs), strict=True)
    wrong = [f"step {step}" for step, fingerprints in enumerate(steps, 1) if len(set(fingerprints)) > 1]
    count = len(runs[0].fingerprints)
    return _count("data", f"{label}: hashes of {count} batches", wrong, "the same bytes in the same order")


def _count(claim: Claim, what: str, wrong: Sequence[str], why: str) -> Row:
    """Return a row that passes if nothing is wrong, and else names the first thing."""
    where = wrong[0] if wrong else ""
    return Row(claim=claim, what=what, difference=len(wrong), tolerance=EXACT, why=why, where=where)


def _row(claim: Claim, what: str, found: tuple[float, str], tolerance: float, why: str) -> Row:
    return Row(claim=claim, what=what, difference=found[0], where=found[1], tolerance=tolerance, why=why)


def same_parameters(workload: str) -> list[Row]:
    """Return the rows about a workload's parameters in both frameworks."""
    plain = trajectory(workload, "sgd")
    bare, decaying = ({**plain, "optimizer": {"name": "sgd", "weight_decay": decay}} for decay in (0.0, DECAY))
    pair, pair_with_decay = both(bare), both(decaying)
    rows = [*parameters(pair, workload), decay(pair_with_decay, pair, workload)]
    arrays = pair[0].architecture.trainable
    spared = {a.name for a in arrays if not a.is_kernel}
    named = decayed_names(arrays, pair[0].config.optimizer.model_copy(update={"weight_decay": DECAY}))
    told = f"{workload}: biases and normalisation that weight decay reaches"
    rows.append(_count("parameters", told, sorted(spared & named), "kernels alone are decayed"))
    return rows


def one_trajectory(workload: str, optimizer: str, steps: int = STEPS) -> list[Row]:
    """Return the rows about one trajectory in both frameworks."""
    return _trajectory(trajectory(workload, optimizer), f"{workload}, {optimizer}", steps)


def void_pixels(steps: int = STEPS) -> list[Row]:
    """Return the rows about one trajectory in which most pixels, the background, are of no class."""
    plain = trajectory("unet", "sgd")
    return _trajectory({**plain, "data": with_void(plain["data"])}, "unet, sgd, the background void", steps)


def with_void(data: Plain) -> dict[str, Any]:
    """Return settings of digit scenes of which the background is void: examples weigh what their digits cover."""
    return {**data, "void": 0}


def _trajectory(plain: Plain, label: str, steps: int) -> list[Row]:
    first, second = (side.train(steps) for side in both(plain))
    why = "1e-16 a step, multiplied by every step that follows"
    return same_trajectory(first, second, label, TRAJECTORY, why)
