"""When a matrix will be done: the sum over what is left of what runs like each took, and what is not known."""

from __future__ import annotations

import time
from collections.abc import Sequence

from horovod_runner.config.schema import RunConfig
from horovod_runner.matrix.estimate import Experience, Finished
from horovod_runner.matrix.planning import duration, read_finished
from horovod_runner.results.record import RunResult
from horovod_runner.results.store import Store

MOST_ESTIMATED = 300  # of the runs that are left; of more, equally many as are passed over stand for them
MOST_KNOWN = 300  # of those that were done; the newest tell most about a machine that drifts


class Outlook:
    """How long the rest of a matrix will take, by the runs that were done so far, here and earlier."""

    def __init__(self, configs: Sequence[RunConfig], store: Store, at_once: int = 1) -> None:
        """Take what was done before into account."""
        done = read_finished(configs, store)
        standing = {name for name, run in done.items() if run.result.status in ("completed", "diverged")}
        self._left = {config.run_id: config for config in configs if config.run_id not in standing}
        self._known = list(done.values())
        self._at_once = at_once
        self._began: dict[str, float] = {}  # of the runs in flight
        self._seconds, self._unknown = self._judge()

    @property
    def left(self) -> int:
        """Return how many runs are left, those in flight included."""
        return len(self._left)

    @property
    def in_flight(self) -> int:
        """Return how many runs are in flight."""
        return len(self._began)

    def started(self, config: RunConfig) -> None:
        """Note that a run begins."""
        self._began[config.run_id] = time.monotonic()

    def ended(self, config: RunConfig, result: RunResult) -> None:
        """Note that a run has ended; one that another runner did has taken no time here."""
        self._left.pop(config.run_id, None)
        began = self._began.pop(config.run_id, None)
        seconds = result.wall_seconds if began is None else time.monotonic() - began
        self._known.append(Finished(config, result, seconds))
        self._seconds, self._unknown = self._judge()

    def words(self) -> str:
        """Return how many runs are left and about how long they take; of those like none so far, only how many."""
        if not self._left:
            return "all runs are done"
        left = f"{self.left:,} run{'s'[: self.left > 1]} left"
        if self._seconds is None:
            return left
        about = duration(max(0.0, self._seconds - self._spent()))
        others = f" and {self._unknown:,} like none so far" if self._unknown else ""
        return f"{left}: about {about}{others}"

    def _spent(self) -> float:
        """Return how much of the matrix' time the runs in flight have had: those beside each other have the same."""
        now = time.monotonic()
        return sum(now - began for began in self._began.values()) / max(1, self.in_flight)

    def _judge(self) -> tuple[float | None, int]:
        """Return the seconds of the runs that are left and like some that were done, and how many are like none."""
        stride = -(-len(self._left) // MOST_ESTIMATED) or 1
        experience = Experience(self._known[-MOST_KNOWN:], self._at_once)
        each = [experience.matrix_seconds_of(config) for config in list(self._left.values())[::stride]]
        known = [seconds for seconds in each if seconds is not None]
        return stride * sum(known) if known else None, stride * (len(each) - len(known))
