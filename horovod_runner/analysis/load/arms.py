"""Which arm of a study a run belongs to, and whether its workers had a core each.

Runs that are equal but for what they measure stand side by side: training with a reduction, *compute-only* workers
(without Horovod and without communication: the computing-only ceiling), and *loading* (batches are read, and nothing is
done with them).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from horovod_runner.analysis.load.runs import Run

OF_A_RUN = ("seed", "repeat")
OF_A_CELL = ("framework", "workers", *OF_A_RUN)
FREE_BATCH = {"weak": "global_batch", "strong": "local_batch"}
OF_AN_ARM = ("measure", "strategy", "allreduce.")  # compute-only workers and loaders serve any strategy


@dataclass
class Arms:
    """Runs that are equal but for their arm; `alone` are single workers that were told to reduce nothing."""

    training: list[Run] = field(default_factory=list)
    alone: list[Run] = field(default_factory=list)
    compute_only: list[Run] = field(default_factory=list)
    loading: list[Run] = field(default_factory=list)


def sorted_out(runs: Iterable[Run]) -> Arms:
    """Return runs by their arm."""
    arms = Arms()
    for run in runs:
        getattr(arms, arm(run)).append(run)
    return arms


def arm(run: Run) -> str:
    """Return the name of the run's arm, a field of `Arms`."""
    if run.config.measure == "loading":
        return "loading"
    if run.config.reduction.reduces:
        return "training"
    return "alone" if run.result.workers == 1 else "compute_only"


def shared_settings(run: Run) -> dict[str, Any]:
    """Return the settings that the runs of a group have in common, under flat names."""
    free = FREE_BATCH.get(run.result.scaling)
    return {key: value for key, value in run.settings.items() if key not in OF_A_CELL and key != free}


def but_for_the_arm(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that the arms of a study have in common."""
    return {key: value for key, value in settings.items() if not key.startswith(OF_AN_ARM)}


def oversubscribed(run: Run) -> bool:
    """Whether the run's hosts had fewer cores than the threads of all workers on them; False where it is not known.

    An emulated host of a part of a core has room for one thread: it is as fast as its share, and no other takes of it.
    """
    provenance = run.provenance
    cores = max(1, run.emulated["cores"]) if run.emulated else (provenance.get("machine") or {}).get("cores")
    if not cores:
        return False
    hosts = (provenance.get("launcher") or {}).get("hosts") or 1
    threads = run.result.threads or provenance.get("threads") or 1
    return bool(-(-run.result.workers // hosts) * threads > cores)
