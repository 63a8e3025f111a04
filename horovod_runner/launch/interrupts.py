"""Being told to end: SIGTERM (a scheduler's, a shutdown's) and Ctrl-C end the run in flight, and nothing more begins.

A signal's exception can be lost: Python prints what is raised in a callback, as in those around a fork, and goes on. So
the wish is kept, and asked for between runs and while one is waited for.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

_told = threading.Event()


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt when this process is told to end."""

    def interrupt(*_: object) -> None:
        _told.set()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _told.clear()


def check() -> None:
    """Raise KeyboardInterrupt if this process was told to end and goes on all the same."""
    if _told.is_set():
        _told.clear()  # raised once: what follows is the end, which must not be cut short
        raise KeyboardInterrupt
