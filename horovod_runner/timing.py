"""A step timer that is given its clock, so that tests can move time by hand."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]


class StepTimer:
    """Time one step at a time: the wait for its data, and the whole of it.

    What happens between `stop` and the next `start` (validation, checkpoints, writing records) is a pause and counts
    nowhere.
    """

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self._started = 0.0
        self._ready = 0.0

    def start(self) -> None:
        """Begin a step, before its batch is asked for."""
        self._started = self._clock()

    def data_ready(self) -> None:
        """Note that the batch has come."""
        self._ready = self._clock()

    def stop(self) -> tuple[float, float]:
        """End the step; return (step_seconds, data_seconds), the first including the second."""
        return self._clock() - self._started, self._ready - self._started
