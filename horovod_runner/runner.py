"""Runs what is missing of a matrix, one run after the other, and can be stopped and started again at any time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from horovod_runner.config import RunConfig
from horovod_runner.errors import EXIT_DIVERGED, EXIT_USER_ERROR, UserError
from horovod_runner.launch import Ended, launch
from horovod_runner.record import RunResult, Status
from horovod_runner.store import RunFolder, Store
from horovod_runner.summary import summarise

TAIL_LINES = 12


class Watcher(Protocol):
    """Whoever shows a matrix being done."""

    def started(self, config: RunConfig, folder: RunFolder) -> None:
        """A run begins."""
        ...

    def ended(self, config: RunConfig, result: RunResult) -> None:
        """A run has its result."""
        ...


@dataclass(frozen=True)
class Tally:
    """How many runs of a matrix stand, by status."""

    results: tuple[RunResult, ...]

    @property
    def failed(self) -> list[RunResult]:
        """Return the runs that ended without a result that stands."""
        return [result for result in self.results if result.status in ("failed", "timeout")]


def run_all(configs: Sequence[RunConfig], store: Store, watcher: Watcher, timeout: float | None = None) -> Tally:
    """Do the runs that have no standing result, in this order; a failed run is recorded and the matrix goes on.

    UserError ends the matrix: it is a mistake that the next run would meet as well (a full disk, a missing launcher).
    """
    results = []
    for config in configs:
        folder = store.folder(config)
        if not folder.done:
            watcher.started(config, folder)
            result = run_one(config, store, timeout)
            watcher.ended(config, result)
        results.append(folder.read_result())
    return Tally(tuple(results))


def run_one(config: RunConfig, store: Store, timeout: float | None = None) -> RunResult:
    """Launch one run and return its result; one that left none is recorded as failed, with its last words."""
    folder = store.open_run(config)
    began = time.perf_counter()
    with folder.log_file.open("ab") as log:
        said_before = log.tell()
        ended = launch(config, folder, timeout=timeout, log=log)
    if ended.code == EXIT_USER_ERROR:
        raise UserError(_complaint(folder, said_before))
    if not ended.timed_out and ended.code in (0, EXIT_DIVERGED) and folder.done:
        return folder.read_result()
    return _record_failure(config, folder, ended, time.perf_counter() - began, said_before)


def _record_failure(config: RunConfig, folder: RunFolder, ended: Ended, seconds: float, said_before: int) -> RunResult:
    status: Status = "timeout" if ended.timed_out else "failed"
    reason = "its time was over" if ended.timed_out else f"exit code {ended.code}"
    error = f"{reason}: {_last_words(folder, said_before)}"
    result = summarise(config, status, steps=folder.read_steps(), wall_seconds=seconds, error=error)
    folder.write_result(result)
    return result


def _said(folder: RunFolder, since: int) -> list[str]:
    with folder.log_file.open("rb") as file:
        file.seek(since)
        return [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]


def _complaint(folder: RunFolder, since: int) -> str:
    """Return the sentence with which a worker refused."""
    mark = "horovod-runner: "
    found = [line.split(mark, 1)[1] for line in _said(folder, since) if mark in line]
    return found[0] if found else f"a worker refused to run; see {folder.log_file}"


def _last_words(folder: RunFolder, since: int) -> str:
    """Return what a failed run's ranks said last; tracebacks end in the line that matters."""
    lines = _said(folder, since)
    telling = [line.strip() for line in lines if "Error" in line or "horovod-runner:" in line]
    return (telling or lines or ["nothing was said"])[-1][:300] + f" (see {folder.log_file.name})"
