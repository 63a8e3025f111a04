"""What `tune` may choose, and the candidates of each stage: settings that differ from the defaults of a run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from horovod_runner.config.strategies import EQUAL, STRATEGIES, Strategy

CYCLES_MS = (5, 20)  # Horovod's own is 1
FUSIONS_MB = (8, 32)  # Horovod's own is 128
KEPT = 2  # the leader of a stage and the fastest other meet the next stage's candidates
BASES = 2  # so many strategies are refined

_SAID: dict[str, Callable[[Any], str]] = {
    "strategy": str,
    "allreduce.controller": str,
    "allreduce.cycle_ms": "cycle {:g} ms".format,
    "allreduce.fusion_mb": "fusion {:g} MiB".format,
    "allreduce.yield_when_idle": lambda yields: "yielding" if yields else "not yielding",
    "threads": lambda count: f"{count} thread{'s'[: count > 1]}",
}
CHOSEN = tuple(_SAID)
"""The paths of the settings that are chosen."""


@dataclass(frozen=True)
class Candidate:
    """Settings of a run by their path, as far as they differ from the default's, in the order of `CHOSEN`."""

    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """What a reader calls it."""
        return ", ".join(_SAID[path](value) for path, value in self.settings) or "default"

    def get(self, path: str, default: Any) -> Any:
        """Return a setting, or what it is by default."""
        return dict(self.settings).get(path, default)

    def with_setting(self, path: str, value: Any) -> Candidate:
        """Return the candidate with a setting replaced."""
        settings = {**dict(self.settings), path: value}
        return Candidate(tuple((path, settings[path]) for path in CHOSEN if path in settings))


DEFAULT = Candidate()


@dataclass(frozen=True)
class Space:
    """What there is to choose from, for a job on a machine.

    `strategy` and `controller` are the default's; `fixed` has the paths that the user has decided; `threads` the
    numbers, other than the default's, that leave no core with two threads.
    """

    strategy: str
    controller: str
    strategies: Sequence[str] = EQUAL
    controllers: Sequence[str] = ("mpi", "gloo")
    threads: Sequence[int] = ()
    fixed: Collection[str] = ()

    def ways(self) -> list[Candidate]:
        """Return the first stage: strategies by controllers, the default's own left out."""
        strategies = [self.strategy] if "strategy" in self.fixed else self.strategies
        controllers = [self.controller] if "allreduce.controller" in self.fixed else self.controllers
        return [
            self._way(strategy, controller)
            for strategy in strategies
            for controller in controllers
            if (strategy, controller) != (self.strategy, self.controller) and STRATEGIES[strategy].admits(controller)
        ]

    def refinements(self, standing: Sequence[Candidate]) -> list[Candidate]:
        """Return the second stage, from candidates in order of their speed: what they could be with Horovod tuned.

        The default and the fastest other that runs Horovod meet every cycle time, `fused` every fusion size as well
        (what fuses is what a cycle has gathered), and under MPI there is not to yield. The first two stay in the race.
        """
        with_horovod = [way for way in (DEFAULT, *standing) if self._strategy(way).transport == "horovod"]
        bases = list(dict.fromkeys(with_horovod))[:BASES]
        made = [variant for base in bases for variant in self._grid(base)]
        return _unique([*standing[:KEPT], *bases, *made])

    def placements(self, standing: Sequence[Candidate]) -> list[Candidate]:
        """Return the third stage: the leader with other numbers of threads a worker; the first two stay in the race."""
        if "threads" in self.fixed or not self.threads:
            return []
        others = [standing[0].with_setting("threads", count) for count in self.threads]
        return _unique([*standing[:KEPT], *others])

    def _way(self, strategy: str, controller: str) -> Candidate:
        way = DEFAULT
        if strategy != self.strategy:
            way = way.with_setting("strategy", strategy)
        if controller != self.controller:
            way = way.with_setting("allreduce.controller", controller)
        return way

    def _grid(self, base: Candidate) -> list[Candidate]:
        cycles = [None, *self._free("allreduce.cycle_ms", CYCLES_MS)]
        chosen = FUSIONS_MB if self._strategy(base).sizes_messages else ()
        sizes = [None, *self._free("allreduce.fusion_mb", chosen)]
        grid = [
            _with(_with(base, "allreduce.cycle_ms", cycle), "allreduce.fusion_mb", size)
            for cycle in cycles
            for size in sizes
        ]
        yields = self._free("allreduce.yield_when_idle", (False,))
        if base.get("allreduce.controller", self.controller) == "mpi":
            grid += [base.with_setting("allreduce.yield_when_idle", value) for value in yields]
        return grid

    def _free(self, path: str, values: Sequence[Any]) -> list[Any]:
        return [] if path in self.fixed else list(values)

    def _strategy(self, candidate: Candidate) -> Strategy:
        return STRATEGIES[candidate.get("strategy", self.strategy)]


def _with(base: Candidate, path: str, value: Any) -> Candidate:
    return base if value is None else base.with_setting(path, value)


def _unique(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return each candidate once, without the default, which is measured in every round anyway."""
    return [candidate for candidate in dict.fromkeys(candidates) if candidate != DEFAULT]
