"""What is told of work that takes long before training: how far it has come, every few seconds and not before."""

from __future__ import annotations

import time
from collections.abc import Callable

Say = Callable[[str], None]
FIRST_SECONDS, EVERY_SECONDS = 2.0, 5.0


def unheard(sentence: str) -> None:
    """Listen to no sentence."""


class Progress:
    """Says a sentence now and then; work that is over in a moment says nothing."""

    def __init__(self, say: Say, clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock = say, clock
        self._due = clock() + FIRST_SECONDS

    def __call__(self, sentence: str) -> None:
        """Say how far it is, if it is time to."""
        now = self._clock()
        if now >= self._due:
            self._due = now + EVERY_SECONDS
            self._say(sentence)
