"""What a matrix is done with, and how its runs are held against other runners that fill the same folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from horovod_runner.config.machine import Machine
from horovod_runner.config.schema import RunConfig
from horovod_runner.results.record import RunResult
from horovod_runner.results.store import RunFolder, Store, claimed


class Watcher(Protocol):
    """Whoever shows a matrix being done."""

    def started(self, config: RunConfig, folder: RunFolder) -> None:
        """A run begins."""
        ...

    def ended(self, config: RunConfig, result: RunResult) -> None:
        """A run has its result, made here or by another runner."""
        ...


@dataclass(frozen=True)
class Session:
    """What a matrix is done with: so many runs at once, where they may be; `began` by time.time()."""

    store: Store
    watcher: Watcher
    machine: Machine
    at_once: int
    began: float

    @contextlib.contextmanager
    def claimed(self, config: RunConfig) -> Iterator[bool]:
        """Hold a run against other runners, and say whether it could be had."""
        folder = self.store.folder(config)
        if not folder.path.exists():
            self.store.open_run(config)
        with claimed(folder.claim) as mine:
            yield mine

    def ended(self, config: RunConfig) -> bool:
        """Say whether a run that was missing has a result now, and if so, show it."""
        folder = self.store.folder(config)
        if not (folder.done or folder.ended_since(self.began)):
            return False
        self.watcher.ended(config, folder.read_result())
        return True
