"""Runs of one worker, done side by side by a pool."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from horovod_runner.config.schema import RunConfig
from horovod_runner.launch import interrupts
from horovod_runner.launch.processes import Ended
from horovod_runner.matrix.ending import Begun, begin, result_of
from horovod_runner.matrix.pool import Pool, PoolWorker, State
from horovod_runner.matrix.session import Session
from horovod_runner.matrix.sharing import Needs, Waiting


def do_side_by_side(configs: Sequence[RunConfig], session: Session) -> list[RunConfig]:
    """Do these runs, so many at once; return those that other runners have now."""
    # The pool is left first: no claim is given back while a process still does its run.
    with contextlib.ExitStack() as claims, Pool(session.at_once, session.machine) as pool:
        matrix = _SideBySide(configs, session, pool, claims)
        while matrix.goes_on:
            interrupts.check()
            matrix.give_out()
            matrix.take_in()
    return matrix.elsewhere


@dataclass(frozen=True)
class _Given:
    """A run that a worker was given, and the claim on it, which is held until the run has its result."""

    begun: Begun
    claim: contextlib.ExitStack


class _SideBySide:
    """The runs that wait, those that workers of the pool were given, and those that are done `elsewhere`."""

    def __init__(
        self, configs: Sequence[RunConfig], session: Session, pool: Pool, claims: contextlib.ExitStack
    ) -> None:
        self.elsewhere: list[RunConfig] = []
        self._waiting, self._given = Waiting(configs), dict[PoolWorker, _Given]()
        self._session, self._pool, self._claims = session, pool, claims

    @property
    def goes_on(self) -> bool:
        """Whether runs are waiting or under way."""
        return bool(self._waiting or self._given)

    def give_out(self) -> None:
        """Give every free worker a run, as long as there are any."""
        for worker in self._pool.free:
            while self._waiting and worker.state is not State.RUNNING:
                self._give(worker, self._waiting.take(worker.last, self._pool.others(worker)))

    def _give(self, worker: PoolWorker, run: Needs) -> None:
        """Give a worker this run, unless another runner has it now or has done it meanwhile."""
        claim, session = contextlib.ExitStack(), self._session
        self._claims.callback(claim.close)
        if not claim.enter_context(session.claimed(run.config)):
            self.elsewhere.append(run.config)
        elif not session.ended(run.config):
            begun = begin(run.config, session.store, session.at_once)
            session.watcher.started(run.config, begun.folder)
            worker.give(run, begun.folder)
            self._given[worker] = _Given(begun, claim)
            return
        claim.close()

    def take_in(self) -> None:
        """Wait a moment for runs to end, and show the results of those that did."""
        for worker, ended in self._pool.ended():
            self._show(self._given.pop(worker), ended)

    def _show(self, given: _Given, ended: Ended) -> None:
        with given.claim:
            self._session.watcher.ended(given.begun.config, result_of(given.begun, ended))
