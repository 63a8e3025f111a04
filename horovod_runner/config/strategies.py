"""The strategies: a row each, with all that anyone asks about a way to reduce gradients, beside the code that does it.

It stands here, and not in allreduce/, because settings are checked against it, and config imports nothing from above:
checks, launches, saved states, tuning and reports read the same row. By convention of the names, the class that does a
strategy is `STRATEGIES[<strategy>]` of horovod_runner/frameworks/<framework>/<transport>.py.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Transport:
    """What carries gradients between workers, by the name of the modules that use it.

    `package` is what it is imported as; `controllers` are who may coordinate it, the values of allreduce.controller.
    """

    name: str
    title: str
    package: str
    controllers: tuple[str, ...]


TRANSPORTS: dict[str, Transport] = {
    row.name: row
    for row in (
        Transport("horovod", "Horovod", "horovod", ("mpi", "gloo")),
        Transport("mpi", "MPI", "mpi4py", ("mpi",)),
    )
}


@dataclass(frozen=True)
class Strategy:
    """One strategy.

    `summary` says what it is, for README and help; `transport` is a key of TRANSPORTS, None where nothing is reduced.
    A gradient is applied so many `steps_late`. `sharded`: each worker updates its part of every array, and no worker
    sees a whole one. `operations` and `compressions` are the values of the allreduce settings of that name that it
    admits, None: all. `fuses`: small tensors may travel in one message; `sizes_messages`: how large these become is
    worth a search. `slots` are what it adds to a run's state, `<slot>/<parameter>`, where there are several workers.
    """

    name: str
    summary: str
    transport: str | None
    steps_late: int = 0
    sharded: bool = False
    operations: tuple[str, ...] | None = None
    compressions: tuple[str, ...] | None = None
    fuses: bool = True
    sizes_messages: bool = False
    slots: tuple[str, ...] = ()

    @property
    def reduces(self) -> bool:
        """Whether anything travels between workers."""
        return self.transport is not None

    @property
    def same_arithmetic(self) -> bool:
        """Whether it trains as all others that say so: by the mean of this step's gradients, but for rounding."""
        return self.reduces and self.steps_late == 0

    def admits(self, controller: str) -> bool:
        """Whether such a controller can coordinate it; what reduces nothing is coordinated by anyone."""
        return self.transport is None or controller in TRANSPORTS[self.transport].controllers


_ROWS = (
    Strategy("none", "nothing is reduced, and no Horovod runs: compute-only workers, the ceiling", transport=None),
    Strategy(
        "blocking",
        "one MPI allreduce after the backward pass, by mpi4py; the traditional way, and no Horovod either",
        transport="mpi",
        operations=("average", "sum"),
        compressions=("none",),
    ),
    Strategy(
        "unfused",
        "Horovod, a message for each gradient, started as soon as it exists",
        transport="horovod",
        fuses=False,
    ),
    Strategy(
        "fused",
        "the same, and Horovod fuses what waits (Sergeev and Del Balso 2018; the default)",
        transport="horovod",
        sizes_messages=True,
    ),
    Strategy("grouped", "Horovod, all gradients as one group after the backward pass", transport="horovod"),
    Strategy(
        "multistep",
        "gradients are reduce-scattered as they appear, each worker updates its shard, and parameters are all-gathered"
        " while the next forward pass waits for them layer by layer (Lee et al., SC18)",
        transport="horovod",
        sharded=True,
        operations=("average", "sum"),
        compressions=("none",),
    ),
    Strategy(
        "lag1",
        "the last step's gradients, zero before the first, are applied while this step's travel (Kurth et al., SC18)",
        transport="horovod",
        steps_late=1,
        slots=("pending",),
    ),
)

STRATEGIES: dict[str, Strategy] = {row.name: row for row in _ROWS}
COMPUTE_ONLY = "none"
"""The strategy that reduces nothing: what the others are held against."""
USUAL = "fused"
"""The strategy of a run that names none."""
EQUAL = tuple(row.name for row in _ROWS if row.same_arithmetic)
"""The strategies that give the same training, so that one may stand in for another."""
