"""What a run's state consists of: weights, running statistics, the optimizer's slots, and what a strategy adds."""

from __future__ import annotations

from benchmarks.architecture import Architecture
from horovod_runner.config.schema import RunConfig
from horovod_runner.optimizers.rules import state_names
from horovod_runner.results.checkpoint import Shapes


def expected_shapes(architecture: Architecture, config: RunConfig) -> Shapes:
    """Return the name and shape of every array of a run's state; a slot has its parameter's shape."""
    shapes = {array.name: array.shape for array in architecture.arrays}
    trained = [array.name for array in architecture.trainable]
    slots = config.reduction.slots if config.transport is not None else ()
    names = [*state_names(config.optimizer, trained), *(f"{slot}/{name}" for slot in slots for name in trained)]
    return shapes | {name: shapes[name.split("/", 1)[1]] if "/" in name else () for name in names}
