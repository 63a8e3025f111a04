"""Runs what is missing of a matrix, one run after the other or several at once, and can be stopped and started again.

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

from horovod_runner.config.machine import Machine
from horovod_runner.config.schema import RunConfig
from horovod_runner.errors import UserError
from horovod_runner.launch import interrupts
from horovod_runner.launch.processes import THIS_MACHINE, launch
from horovod_runner.matrix.ending import begin, result_of
from horovod_runner.matrix.session import Session, Watcher
from horovod_runner.matrix.sharing import shares
from horovod_runner.matrix.side_by_side import do_side_by_side
from horovod_runner.results.record import RunResult
from horovod_runner.results.store import Store, claimed, full_disk_named

WAIT_SECONDS = 2.0


@dataclass(frozen=True)
class Tally:
    """How many runs of a matrix stand, by status."""

    results: tuple[RunResult, ...]

    @property
    def failed(self) -> list[RunResult]:
        """Return the runs that ended without a result that stands."""
        return [result for result in self.results if result.status in ("failed", "timeout")]


def run_all(
    configs: Sequence[RunConfig],
    store: Store,
    watcher: Watcher,
    machine: Machine = THIS_MACHINE,
    at_once: int = 1,
) -> Tally:
    """Do the runs that have no standing result, in this order; a failed run is recorded and the matrix goes on.

    Runs of one worker are done so many `at_once` (see side_by_side.py), before the others. UserError ends the
    matrix: it is a mistake that the next run would meet as well (a full disk, a missing launcher).
    """
    session = Session(store, watcher, machine, at_once, time.time())
    with contextlib.ExitStack() as stack:
        for experiment in {config.experiment for config in configs}:
            stack.enter_context(_only_runner_here(store.root / experiment))
        elsewhere = _do_all([config for config in configs if not store.folder(config).done], session)
        while elsewhere:
            # Other machines do these. A runner that dies frees its claim, and the run is done here.
            time.sleep(WAIT_SECONDS)
            elsewhere = _do_all(elsewhere, session)
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


def _do_all(configs: Sequence[RunConfig], session: Session) -> list[RunConfig]:
    """Do these runs; return those that other runners have now."""
    shared = [config for config in configs if shares(config, session.at_once)]
    alone = [config for config in configs if not shares(config, session.at_once)]
    elsewhere = do_side_by_side(shared, session) if shared else []
    return elsewhere + [config for config in alone if not _do(config, session)]


def _do(config: RunConfig, session: Session) -> bool:
    """Do a run unless another runner has it now; return whether it has a result of this session or a standing one."""
    interrupts.check()
    with session.claimed(config) as mine:
        if mine and not session.ended(config):
            session.watcher.started(config, session.store.folder(config))
            session.watcher.ended(config, run_one(config, session.store, session.machine))
        return mine


def run_one(config: RunConfig, store: Store, machine: Machine = THIS_MACHINE) -> RunResult:
    """Launch one run and return its result; one that left none is recorded as failed, with the diagnosis."""
    begun = begin(config, store)
    with begun.folder.open_log() as log:
        ended = launch(config, begun.folder, log, machine=machine)
    return result_of(begun, ended)
