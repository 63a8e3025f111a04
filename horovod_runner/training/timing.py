"""A step timer that is given its clock, so that tests can move time by hand."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable

Clock = Callable[[], float]


class StepTimer:
    """Time one step at a time: the wait for its data, and the whole of it.

    What happens between `stop` and the next `start` (validation, checkpoints, writing records) is a pause and counts
    nowhere. `spans` are begin and end of every step, one after the other, by the clock.
    """

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self._started = 0.0
        self._ready = 0.0
        self.spans = array("d")

    def start(self) -> None:
        """Begin a step, before its batch is asked for."""
        self._started = self._clock()

    def data_ready(self) -> None:
        """Note that the batch has come."""
        self._ready = self._clock()

    def stop(self) -> tuple[float, float]:
        """End the step; return (step_seconds, data_seconds), the first including the second."""
        ended = self._clock()
        self.spans.extend((self._started, ended))
        return ended - self._started, self._ready - self._started

    def since_start(self, moment: float) -> float:
        """Return the seconds from the begin of the last step to a moment of the clock."""
        return moment - self._started
