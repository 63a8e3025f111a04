"""Runs what is missing of a matrix, one run after the other or several at once, and can be stopped and started again.

Several runners may fill one folder of results: on different machines they share the runs, each of which is claimed by
the one that does it; on one machine the second is refused, because two at once would slow each other's runs.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from horovod_runner.config.machine import Machine
from horovod_runner.config.schema import RunConfig
from horovod_runner.errors import UserError
from horovod_runner.launch import interrupts
from horovod_runner.launch.processes import THIS_MACHINE, Ended, launch
from horovod_runner.matrix.ending import begin, result_of
from horovod_runner.matrix.pool import Lane, Lanes
from horovod_runner.matrix.sharing import Needs, Waiting, shares
from horovod_runner.results.record import RunResult
from horovod_runner.results.store import RunFolder, Store, claimed, full_disk_named

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


@dataclass(frozen=True)
class Session:
    """What a matrix is done with: so many runs at once, where they may be; `began` by time.time()."""

    store: Store
    watcher: Watcher
    machine: Machine
    at_once: int
    began: float


def run_all(
    configs: Sequence[RunConfig],
    store: Store,
    watcher: Watcher,
    machine: Machine = THIS_MACHINE,
    at_once: int = 1,
) -> Tally:
    """Do the runs that have no standing result, in this order; a failed run is recorded and the matrix goes on.

    Runs of one worker are done so many `at_once` (see lanes.py), before the others. UserError ends the matrix: it is a
    mistake that the next run would meet as well (a full disk, a missing launcher).
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
    elsewhere = _do_at_once(shared, session) if shared else []
    return elsewhere + [config for config in alone if not _do(config, session)]


def _do(config: RunConfig, session: Session) -> bool:
    """Do a run unless another runner has it now; return whether it has a result of this session or a standing one."""
    interrupts.check()
    with _claimed(config, session) as mine:
        if mine and not _ended(config, session):
            session.watcher.started(config, session.store.folder(config))
            session.watcher.ended(config, run_one(config, session.store, session.machine))
        return mine


@contextlib.contextmanager
def _claimed(config: RunConfig, session: Session) -> Iterator[bool]:
    """Hold a run against other runners, and say whether it could be had."""
    folder = session.store.folder(config)
    if not folder.path.exists():
        session.store.open_run(config)
    with claimed(folder.claim) as mine:
        yield mine


def _ended(config: RunConfig, session: Session) -> bool:
    """Say whether a run that was missing has a result now, and if so, show it."""
    folder = session.store.folder(config)
    if not (folder.done or folder.ended_since(session.began)):
        return False
    session.watcher.ended(config, folder.read_result())
    return True


def run_one(config: RunConfig, store: Store, machine: Machine = THIS_MACHINE) -> RunResult:
    """Launch one run and return its result; one that left none is recorded as failed, with its last words."""
    begun = begin(config, store)
    with full_disk_named(begun.folder.log_file), begun.folder.log_file.open("ab") as log:
        ended = launch(config, begun.folder, machine=machine, log=log)
    return result_of(begun, ended)


def _do_at_once(configs: Sequence[RunConfig], session: Session) -> list[RunConfig]:
    """Do these runs in lanes; return those that other runners have now."""
    waiting, elsewhere = Waiting(configs), list[RunConfig]()
    with contextlib.ExitStack() as claims, Lanes(session.at_once, session.machine) as lanes:
        busy: dict[Lane, InLane] = {}
        while waiting or busy:
            interrupts.check()
            for lane in lanes:
                while waiting and lane not in busy:
                    others = [other.last for other in lanes if other is not lane and other.last]
                    run = _in_lane(waiting.take(lane.last, others), lane, session, elsewhere)
                    claims.callback(run.close)
                    if next(run, False):
                        busy[lane] = run
            for lane, ended in lanes.ended(list(busy)) if busy else []:
                with contextlib.suppress(StopIteration):
                    busy.pop(lane).send(ended)
    return elsewhere


InLane = Generator[bool, Ended, None]


def _in_lane(run: Needs, lane: Lane, session: Session, elsewhere: list[RunConfig]) -> InLane:
    """Do a run as `_do` does, in a lane: yield True once the lane has it, and be sent how it ended.

    A run that is not to be done here yields nothing; it is added to `elsewhere` if another runner has it.
    """
    config = run.config
    with _claimed(config, session) as mine:
        if not mine:
            elsewhere.append(config)
        elif not _ended(config, session):
            begun = begin(config, session.store, session.at_once)
            session.watcher.started(config, begun.folder)
            lane.give(run, begun.folder)
            ended = yield True
            session.watcher.ended(config, result_of(begun, ended))
