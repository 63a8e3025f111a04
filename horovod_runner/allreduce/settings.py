"""What all frameworks' reductions have in common: how workers join, and what libraries read when they start."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from horovod_runner.allreduce.groups import FileGroup, Group, Solo
from horovod_runner.config.frameworks import FRAMEWORKS
from horovod_runner.config.schema import RunConfig
from horovod_runner.config.strategies import TRANSPORTS
from horovod_runner.errors import SharedError
from horovod_runner.machine.world import World


def join(config: RunConfig, world: World, rendezvous: Path) -> tuple[Group, Callable[..., Any] | None]:
    """Return the group of workers, and what makes the framework's reducer of the run's strategy.

    None where nothing is reduced. A module of a framework and a transport holds a `JoinedGroup` and a table
    `STRATEGIES`; it is imported only if it is to run.
    """
    if config.transport is None:
        return (FileGroup(world, rendezvous) if world.size > 1 else Solo()), None
    module = importlib.import_module(f"{FRAMEWORKS[config.framework].home}.{config.transport}")
    group = module.JoinedGroup(config)
    if group.size != world.size:
        raise SharedError(
            f"{world.launcher} started {world.size} workers, but {TRANSPORTS[config.transport].title} finds"
            f" {group.size} of them, because this {world.launcher} is not of the environment's MPI; use"
            " .venv/bin/mpirun or .venv/bin/horovodrun --mpi"
        )
    return group, module.STRATEGIES[config.strategy]


def library_environment(config: RunConfig) -> dict[str, str]:
    """Return the variables that Horovod and Open MPI read when they start, for what is set and for nothing else."""
    settings, variables = config.allreduce, {}
    if not config.reduction.fuses:
        variables["HOROVOD_FUSION_THRESHOLD"] = "0"
    elif settings.fusion_mb is not None:
        variables["HOROVOD_FUSION_THRESHOLD"] = str(int(settings.fusion_mb * 1024 * 1024))
    if settings.cycle_ms is not None:
        variables["HOROVOD_CYCLE_TIME"] = str(settings.cycle_ms)
    if not settings.cache:
        variables["HOROVOD_CACHE_CAPACITY"] = "0"
    if settings.hierarchical:
        variables["HOROVOD_HIERARCHICAL_ALLREDUCE"] = "1"
    if settings.yield_when_idle:
        variables["OMPI_MCA_mpi_yield_when_idle"] = "1"
    return variables


def require_operations(config: RunConfig, *, nccl_built: bool, by_mpi: bool) -> None:
    """Raise SharedError for what this Horovod, started in this way, has no operation for; it would hang or crash."""
    how = config.allreduce
    if how.hierarchical and not nccl_built:
        raise SharedError(
            "allreduce.hierarchical: NCCL alone reduces within a host first, and this Horovod was built without it;"
            " remove it"
        )
    if how.operation == "adasum" and not by_mpi:
        raise SharedError("allreduce.operation: adasum needs MPI, and these workers met by Gloo; start them by mpirun")


def shard(size: int, rank: int, workers: int) -> slice:
    """Return this worker's part of a vector, as Horovod's reduce-scatter divides it: the first ones take the rest."""
    least, rest = divmod(size, workers)
    begin = rank * least + min(rank, rest)
    return slice(begin, begin + least + (rank < rest))


def partition(sizes: Mapping[str, int], rank: int, workers: int) -> list[str]:
    """Return this worker's share of arrays that all workers have: the largest first, each to who has least so far."""
    loads, own = [0] * workers, []
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        to = loads.index(min(loads))
        loads[to] += sizes[name]
        if to == rank:
            own.append(name)
    return own
