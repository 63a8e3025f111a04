"""Backends that serve one run after another, for processes that do many short ones.

Importing a framework, building a model and tracing its graph takes longer than many a run of a convergence study. Runs
that differ only in what no graph depends on have the same one: a backend that starts from its first state and another
run's first weights is that run's own, bit for bit.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from horovod_runner.config.schema import RunConfig

if TYPE_CHECKING:
    from benchmarks.architecture import Arrays
    from horovod_runner.frameworks.base import Backend, Job

MOST_KEPT = 2  # backends in memory; runs come sorted by theirs, so that more would only wait

MAY_DIFFER: dict[str, Any] = {
    "experiment": True,
    "arm": True,
    "seed": True,
    "repeat": True,
    "epochs": True,
    "steps": True,
    "optimizer": {"learning_rate"},
    "schedule": True,
    "checkpoint": True,
    "validate_every": True,
    "validate_steps": True,
    "validation_statistics": True,
    "precise_examples": True,
    "target": True,
    "record_every": True,
    "discard_steps": True,
}
"""Settings that no graph depends on: the loop reads them, or a step is given their numbers. All others must agree."""


def graph_of(config: RunConfig) -> str:
    """Return a text that is equal for runs that one backend can serve."""
    return json.dumps(config.model_dump(mode="json", exclude=MAY_DIFFER), sort_keys=True)


@dataclass(frozen=True)
class _Kept:
    """A backend, what it was built for, and its state before anything was trained."""

    built_for: tuple[Any, ...]
    backend: Backend
    start: Arrays


class Backends:
    """Gives each run a backend in its first state: one that served a run before, or one that `build` makes.

    For runs of one worker that ended by themselves: a group of several is left at a run's end, and what is half a step
    is in no state.
    """

    def __init__(self, build: Callable[[Job], Backend]) -> None:
        self._build = build
        self._kept: list[_Kept] = []  # the last used is the last

    def load(self, job: Job) -> Backend:
        """Return a backend for this run, in the state of one that is new."""
        wanted = (graph_of(job.config), job.architecture, job.world, job.threads)
        kept = next((kept for kept in self._kept if kept.built_for == wanted), None)
        if kept is None:
            self._make_room()
            backend = self._build(job)
            kept = _Kept(wanted, backend, backend.state())
        else:
            self._kept.remove(kept)
            kept.backend.load_state({**kept.start, **job.initial})
        self._kept.append(kept)
        return kept.backend

    def _make_room(self) -> None:
        if len(self._kept) >= MOST_KEPT:
            del self._kept[: 1 - MOST_KEPT]
            gc.collect()  # models and their graphs point at each other
