"""The rows about optimizers: each framework's against the written definition (optimizers/rules.py), step by step.

The definition needs a step's gradients, which no backend gives away. A second copy of the job, under plain SGD at a
rate of 0, leaves them in its velocity: so it is put where the first one stands, and makes the same step first.
"""

from __future__ import annotations

from benchmarks.architecture import Arrays
from benchmarks.data.batch import Batch
from horovod_runner.optimizers import rules
from horovod_runner.parity.functions import SLOT
from horovod_runner.parity.rows import Row, worst
from horovod_runner.parity.settings import OPTIMIZERS, plain, trajectory
from horovod_runner.parity.sides import Side

STEPS = 6
BOUND = 1e-13  # clean runs need 1e-15, measured
WORKLOAD = "unet"


def by_definition(framework: str) -> list[Row]:
    """Return a row for every optimizer of a framework."""
    bare = Side(framework, plain(WORKLOAD, optimizer={"name": "sgd", "weight_decay": 0.0}))
    return [_row(framework, optimizer, bare) for optimizer in OPTIMIZERS]


def _row(framework: str, optimizer: str, bare: Side) -> Row:
    side = Side(framework, trajectory(WORKLOAD, optimizer))
    config, schedule = side.config.optimizer, side.schedule
    names = [array.name for array in side.architecture.trainable]
    decayed = rules.decayed_names(side.architecture.trainable, config)
    weights = side.backend.state_of(names)
    state = rules.initial_state(config, weights)
    for step, batch in enumerate(side.batches(STEPS)):
        gradients = _gradients(bare, side, batch)
        side.backend.step(batch, schedule(step))
        weights, state = rules.apply(config, weights, gradients, state, decayed, schedule(step))
    statistics = {array.name for array in side.architecture.statistics}
    found = {name: array for name, array in side.backend.state().items() if name not in statistics}
    difference, where = worst({**weights, **state}, found)
    return Row(
        claim="shared",
        what=f"{framework}: {optimizer} = its written definition, {STEPS} steps, weights and slots",
        difference=difference,
        where=where,
        tolerance=BOUND,
        why="a few operations a value, and the rounding of two gradients",
    )


def _gradients(bare: Side, side: Side, batch: Batch) -> Arrays:
    """Return the gradients at which a side's next step begins."""
    model = [array.name for array in side.architecture.arrays]
    bare.restart()
    bare.backend.load_state(side.backend.state_of(model))
    bare.backend.step(batch, 0.0)
    return {name.removeprefix(SLOT): value for name, value in bare.backend.state().items() if name.startswith(SLOT)}
