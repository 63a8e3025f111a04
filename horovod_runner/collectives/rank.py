"""One rank of a measurement: `python -m horovod_runner.collectives.rank FOLDER`, where FOLDER holds the plan.

Every rank times every iteration with its own clock, after a barrier; rank 0 writes a line a case into the folder.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from horovod_runner.allreduce.algorithms import ALGORITHMS, COPY, Algorithm, Reducer
from horovod_runner.collectives.plan import Case, Plan
from horovod_runner.collectives.samples import Folder, Sample
from horovod_runner.config.frameworks import FRAMEWORKS
from horovod_runner.config.schema import RunConfig
from horovod_runner.errors import EXIT_USER_ERROR, SharedError, UserError
from horovod_runner.frameworks.imports import import_framework
from horovod_runner.machine import share
from horovod_runner.machine.process import become_rank
from horovod_runner.machine.terminal import print_leniently, warn
from horovod_runner.machine.world import World, complain, detect, refuse_strangers, threads_for
from horovod_runner.results import provenance
from horovod_runner.results.store import write_json
from horovod_runner.training.timing import Clock

WARM_UP = 5
FEWEST, MOST = 5, 1000
BEAT_SECONDS = 1.0
PERIOD = 61  # of the pattern: integers below it, whose sums over ranks are exact in float32
SPOILED = "SUITE_SPOILED_RANK"
"""Names a rank that sends something else than it should, so that a test sees the check fail."""


def main() -> int:
    """Be one rank of the measurement in the folder named on the command line; return the exit code."""
    print_leniently()
    world, folder = detect(), Folder(Path(sys.argv[1]))
    try:
        _measure_all(folder, world)
        return 0
    except UserError as error:
        complain(error, world)
        code = EXIT_USER_ERROR
    except Exception:
        why = traceback.format_exc()
        warn(f"rank {world.rank} of {world.size}: {why}")
        code = 1
    # At once: the others may be in a collective that this rank will never join.
    sys.stdout.flush()
    os._exit(code)


def _measure_all(folder: Folder, world: World) -> None:
    plan = folder.read_plan()
    refuse_strangers(world)
    threads = threads_for(world, None)
    become_rank(world, threads)
    reducer = _join({**ALGORITHMS, COPY.name: COPY}[plan.algorithm], plan.as_run())
    group = reducer.group
    if group.size != plan.workers:
        raise SharedError(f"{plan.workers} ranks were started, but each finds {group.size}; use .venv/bin/mpirun")
    if world.rank == 0:
        write_json(folder.origin_file, provenance.describe(world, threads))
    share.take()
    for case in plan.cases:
        sample = measure(case, reducer, plan, folder.beat if world.rank == 0 else _nothing)
        if world.rank == 0:
            folder.append(sample)
    group.barrier()
    group.close()


def _join(algorithm: Algorithm, config: RunConfig) -> Reducer:
    """Import what reduces and meet the other ranks, as those of a run with these settings do."""
    if algorithm.needs:
        module = import_framework(FRAMEWORKS[config.framework], "collectives")
    else:
        module = importlib.import_module("horovod_runner.collectives.by_mpi")
    reducer: Reducer = module.join(algorithm.name, config)
    return reducer


def measure(
    case: Case, reducer: Reducer, plan: Plan, beat: Callable[[], None], clock: Clock = time.perf_counter
) -> Sample:
    """Check one case, time it on this rank, check it again; return the seconds of all ranks.

    What is timed are sums of zeros, which stay zero however often they are summed in place.
    """
    arrays = [np.zeros(length, np.float32) for length in case.elements]
    right = sums_are_right(reducer, arrays, case)
    for array in arrays:
        array.fill(0)
    reducer.load(arrays, case.key)
    timer = _Timer(reducer, beat, clock)
    began = clock()
    warm_up = timer.seconds(WARM_UP)
    each = (clock() - began) / WARM_UP
    seconds = timer.seconds(_iterations(plan, each, reducer))
    right &= sums_are_right(reducer, arrays, case)
    everywhere = reducer.group.gather(np.array([right], np.float64)).min() == 1
    return Sample(
        case=case.key,
        warm_up=_rows(reducer.group.gather(np.array(warm_up))),
        seconds=_rows(reducer.group.gather(np.array(seconds))),
        correct=bool(everywhere),
    )


def sums_are_right(reducer: Reducer, arrays: Sequence[np.ndarray], case: Case) -> bool:
    """Reduce small integers, which differ from rank to rank and from tensor to tensor, and say if the sums are exact.

    The arrays are overwritten.
    """
    for tensor, array in enumerate(arrays):
        fill(array, [reducer.group.rank], tensor)
    if os.environ.get(SPOILED) == str(reducer.group.rank):
        arrays[0][0] += 1
    reducer.load(arrays, case.key)
    reducer.reduce()
    right = True
    for tensor, found in enumerate(reducer.result()):
        expected = np.empty_like(found)
        fill(expected, reducer.contributors, tensor)
        right &= bool(np.array_equal(found, expected))
    return right


def fill(array: np.ndarray, ranks: Sequence[int], tensor: int) -> None:
    """Fill an array with the sum of what these ranks send: (element + 13 rank + 7 tensor) mod 61."""
    elements = np.arange(PERIOD)
    period = np.sum([(elements + 13 * rank + 7 * tensor) % PERIOD for rank in ranks], axis=0)
    array[:] = np.resize(period.astype(np.float32), array.shape)


class _Timer:
    """Times iterations on this rank, each after a barrier."""

    def __init__(self, reducer: Reducer, beat: Callable[[], None], clock: Clock) -> None:
        self._reducer, self._beat, self._clock = reducer, beat, clock
        self._beaten = clock()

    def seconds(self, iterations: int) -> list[float]:
        """Return the seconds of each iteration."""
        return [self._one() for _ in range(iterations)]

    def _one(self) -> float:
        if self._clock() - self._beaten > BEAT_SECONDS:
            self._beat()
            self._beaten = self._clock()
        self._reducer.group.barrier()
        began = self._clock()
        self._reducer.reduce()
        return self._clock() - began


def _iterations(plan: Plan, each: float, reducer: Reducer) -> int:
    """Return how often a case is timed, the same number on every rank; `each` are seconds, barrier included."""
    if plan.iterations is not None:
        return plan.iterations
    slowest = float(reducer.group.gather(np.array([each])).max())
    return int(np.clip(plan.seconds / slowest, FEWEST, MOST))


def _rows(seconds: np.ndarray) -> tuple[tuple[float, ...], ...]:
    """Return plain numbers, to the nanosecond."""
    return tuple(tuple(row) for row in np.round(seconds, 9).tolist())


def _nothing() -> None:
    """Show no sign of life: rank 0's is enough."""


if __name__ == "__main__":
    sys.exit(main())
