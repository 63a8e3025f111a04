"""Runs what is missing of a matrix, one run after the other, and can be stopped and started again at any time.

Several runners may fill one folder of results: on different machines they share the runs, each of which is claimed by
the one that does it; on one machine the second is refused, because two at once would slow each other's runs.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from horovod_runner.config import RunConfig
from horovod_runner.errors import EXIT_DIVERGED, EXIT_USER_ERROR, UserError
from horovod_runner.launching import interrupts
from horovod_runner.launching.launch import THIS_MACHINE, Ended, launch
from horovod_runner.launching.machine import Machine
from horovod_runner.matrix import lastwords
from horovod_runner.record import RunResult, Status
from horovod_runner.store import RunFolder, Store, claimed, full_disk_named
from horovod_runner.summary import summarise

WAIT_SECONDS = 2.0


class Watcher(Protocol):
    """Whoever shows a matrix being done."""

    def started(self, config: RunConfig, folder: RunFolder) -> None:
        """A run begins."""
        ...

    def ended(self, config: RunConfig, result: RunResult) -> None:
        """A run has its result, made here or by another runner."""
        ...


@dataclass(frozen=True)
class Tally:
    """How many runs of a matrix stand, by status."""

    results: tuple[RunResult, ...]

    @property
    def failed(self) -> list[RunResult]:
        """Return the runs that ended without a result that stands."""
        return [result for result in self.results if result.status in ("failed", "timeout")]


def run_all(configs: Sequence[RunConfig], store: Store, watcher: Watcher, machine: Machine = THIS_MACHINE) -> Tally:
    """Do the runs that have no standing result, in this order; a failed run is recorded and the matrix goes on.

    UserError ends the matrix: it is a mistake that the next run would meet as well (a full disk, a missing launcher).
    """
    began = time.time()
    with contextlib.ExitStack() as stack:
        for experiment in {config.experiment for config in configs}:
            stack.enter_context(_only_runner_here(store.root / experiment))
        missing = [config for config in configs if not store.folder(config).done]
        elsewhere = [config for config in missing if not _do(config, store, watcher, machine, began)]
        while elsewhere:
            # Other machines do these. A runner that dies frees its claim, and the run is done here.
            time.sleep(WAIT_SECONDS)
            elsewhere = [config for config in elsewhere if not _do(config, store, watcher, machine, began)]
    return Tally(tuple(store.folder(config).read_result() for config in configs))


@contextlib.contextmanager
def _only_runner_here(experiment: Path) -> Iterator[None]:
    with full_disk_named(experiment):
        experiment.mkdir(parents=True, exist_ok=True)
    with claimed(experiment / f".runner-{socket.gethostname()}") as mine:
        if not mine:
            raise UserError(
                f"{experiment} is being filled by another runner on this machine, and two would slow each other's runs;"
                " wait for it, or end it"
            )
        yield


def _do(config: RunConfig, store: Store, watcher: Watcher, machine: Machine, began: float) -> bool:
    """Do a run unless another runner has it now; return whether it has a result of this session or a standing one."""
    interrupts.check()
    folder = store.folder(config)
    if not folder.path.exists():
        store.open_run(config)
    with claimed(folder.claim) as mine:
        if not mine:
            return False
        if folder.done or folder.ended_since(began):
            watcher.ended(config, folder.read_result())
            return True
        watcher.started(config, folder)
        watcher.ended(config, run_one(config, store, machine))
        return True


def run_one(config: RunConfig, store: Store, machine: Machine = THIS_MACHINE) -> RunResult:
    """Launch one run and return its result; one that left none is recorded as failed, with its last words."""
    folder = store.open_run(config)
    began, oom_kills = time.perf_counter(), lastwords.oom_kills()
    with full_disk_named(folder.log_file), folder.log_file.open("ab") as log:
        said_before = log.tell()
        ended = launch(config, folder, machine=machine, log=log)
    lines = lastwords.said(folder.log_file, said_before)
    if ended.code == EXIT_USER_ERROR and not ended.given_up:
        raise UserError(lastwords.complaint(lines) or f"a worker refused to run; see {folder.log_file}")
    if not ended.given_up and ended.code in (0, EXIT_DIVERGED) and folder.done:
        return folder.read_result()
    return _record_failure(config, folder, ended, lines, time.perf_counter() - began, lastwords.oom_kills() - oom_kills)


def _record_failure(
    config: RunConfig,
    folder: RunFolder,
    ended: Ended,
    lines: Sequence[lastwords.Line],
    seconds: float,
    oom_kills: int,
) -> RunResult:
    status: Status = "timeout" if ended.given_up else "failed"
    result = summarise(
        config,
        status,
        steps=folder.read_steps(),
        wall_seconds=seconds,
        error=ended.given_up or lastwords.reason(ended.code, lines, oom_kills),
        log_tail=lastwords.tail(lines),
    )
    folder.write_result(result)
    return result
