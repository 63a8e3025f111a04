"""A step timer that is given its clock, so that tests can move time by hand."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from typing import NamedTuple

Clock = Callable[[], float]


class StepTimes(NamedTuple):
    """The whole of a step, and the wait for its data, which is part of it."""

    step_seconds: float
    data_seconds: float


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

    def stop(self) -> StepTimes:
        """End the step."""
        ended = self._clock()
        self.spans.extend((self._started, ended))
        return StepTimes(ended - self._started, self._ready - self._started)

    def since_start(self, moment: float | None) -> float | None:
        """Return the seconds from the begin of the last step to a moment of the clock; None for none."""
        return None if moment is None else moment - self._started
