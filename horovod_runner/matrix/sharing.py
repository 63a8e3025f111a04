"""Which runs of a matrix share the machine, and in which order the workers of a pool take them.

A pool worker is a process that does one run after another. It has one framework with its threads for life, and saves
most time where its next run has the graph of its last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from horovod_runner.config.machine import Machine
from horovod_runner.config.schema import RunConfig
from horovod_runner.errors import UserError
from horovod_runner.machine.limits import core_count
from horovod_runner.training.reuse import graph_of


def shares(config: RunConfig, at_once: int) -> bool:
    """Whether a run is done beside others.

    Done alone are runs of several workers or on emulated hosts, and what is there to be timed: compute-only workers,
    and those that only load.
    """
    timed = not config.reduction.reduces or config.measure != "training"
    return at_once > 1 and config.workers == 1 and not timed and not config.cluster.emulated


def require_cores(at_once: int, file: Path, machine: Machine) -> None:
    """Raise UserError where so many runs at once cannot be done here."""
    cores = core_count()
    if at_once > cores:
        raise UserError(
            f"{file}: at_once: {at_once} runs at once need as many cores, and there are {cores}; write {cores} or less"
        )
    if at_once > 1 and (machine.hosts or machine.launcher == "srun"):
        raise UserError(
            f"{file}: at_once: runs are done at once on this machine alone, and the machine file has launchers start"
            " them elsewhere; remove at_once, or hosts and launcher: srun"
        )


@dataclass(frozen=True)
class Needs:
    """A run and what it needs: a process with this framework and these threads, and in it a backend of this graph."""

    config: RunConfig
    process: tuple[str, int | None]
    graph: str


def needs(config: RunConfig) -> Needs:
    """Return a run with what it needs."""
    return Needs(config, (config.framework, config.threads), graph_of(config))


def in_order(configs: Sequence[RunConfig], at_once: int) -> list[RunConfig]:
    """Return runs as they are done: in their own order, but that runs of one process and graph follow each other.

    Those that share the machine come before those that are done alone.
    """
    if at_once == 1:
        return list(configs)
    known = [needs(config) for config in configs]
    processes, graphs = [run.process for run in known], [run.graph for run in known]
    first = {place: number for number, place in reversed([*enumerate(processes), *enumerate(graphs)])}
    known.sort(key=lambda run: (not shares(run.config, at_once), first[run.process], first[run.graph]))
    return [run.config for run in known]


class Waiting:
    """Runs that wait for a pool worker."""

    def __init__(self, configs: Iterable[RunConfig]) -> None:
        self._runs = [needs(config) for config in configs]

    def __bool__(self) -> bool:
        return bool(self._runs)

    def take(self, last: Needs | None, others: Sequence[Needs]) -> Needs:
        """Remove and return the run that a pool worker does after its `last`, while others do `others`.

        Best is one with the same graph. Failing that, one that needs no new process, and then one of a graph that no
        other worker has: what is built by one need not be built by two.
        """
        elsewhere = {other.graph for other in others}

        def cost(run: Needs) -> tuple[bool, bool, bool]:
            return (
                last is None or run.graph != last.graph,
                last is None or run.process != last.process,
                run.graph in elsewhere,
            )

        best = min(self._runs, key=cost)
        self._runs.remove(best)
        return best
