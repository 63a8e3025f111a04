"""A pool of workers: processes of this machine that do runs of one worker side by side, each one run after another.

All are driven from one thread, which gives a worker a run, and waits until some have ended theirs.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from enum import Enum
from multiprocessing.connection import wait
from types import TracebackType
from typing import IO, Self

from horovod_runner.config.machine import Machine
from horovod_runner.errors import EXIT_DIVERGED
from horovod_runner.launch.processes import LOOK_SECONDS, Ended, Watchdog, conversing, environment
from horovod_runner.machine.process import LOGGED
from horovod_runner.matrix.sharing import Needs
from horovod_runner.results.store import RunFolder


class State(Enum):
    """What a worker of the pool is about."""

    DEAD = "no process: it has had no run yet, or the last one broke it"
    IDLE = "its process, warm from the last run, waits for the next"
    RUNNING = "its process does a run"


class PoolWorker:
    """One worker: a process that is started when it is first needed, and anew where the next run needs another.

    DEAD or IDLE becomes RUNNING by `give`; RUNNING becomes IDLE when a run ends well, and DEAD when it does not.
    """

    def __init__(self, at_once: int, machine: Machine) -> None:
        self.state = State.DEAD
        self.last: Needs | None = None  # the run that it does or has done; None while it is dead
        self._at_once, self._machine = at_once, machine
        self._alive = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes]
        self._watchdog: Watchdog

    def give(self, run: Needs, folder: RunFolder) -> None:
        """Have a run done whose folder is there."""
        assert self.state is not State.RUNNING
        if not self._serves(run):
            self.end()
            self._start()
        self.state, self.last = State.RUNNING, run
        self._watchdog = Watchdog(self._machine, folder)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has just died: there will be no answer
            self._process.stdin.write(os.fsencode(folder.path) + b"\n")

    def _serves(self, run: Needs) -> bool:
        """Whether its process is there and is of the kind that the run needs."""
        return self.last is not None and self.last.process == run.process and self._process.poll() is None

    def _start(self) -> None:
        argv = [sys.executable, "-m", "horovod_runner.training.pool_worker", str(self._at_once)]
        self._process = self._alive.enter_context(conversing(argv, environment(self._machine) | {LOGGED: "1"}))

    @property
    def _answers(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def fileno(self) -> int:
        """Return the pipe on which its process answers, to be waited for."""
        return self._answers.fileno()

    def look(self, *, spoke: bool) -> Ended | None:
        """Return how its run has ended, or None while it goes on; `spoke`: its pipe has something, or is closed."""
        ended = self._ending(spoke)
        if ended is None:
            return None
        self.state = State.IDLE
        if ended.given_up or ended.code not in (0, EXIT_DIVERGED):
            self.end()
        return ended

    def _ending(self, spoke: bool) -> Ended | None:
        if spoke:
            answer = self._answers.readline()
            return Ended(code_of(answer) if answer else self._process.wait())
        if self._process.poll() is not None:  # its children may keep the pipe open
            return Ended(self._process.returncode)
        why = self._watchdog.over()
        return None if why is None else Ended(1, given_up=why)

    def end(self) -> None:
        """End its process, and with it the run that it may have."""
        self._alive.close()
        self.state, self.last = State.DEAD, None


def code_of(answer: bytes) -> int:
    """Return the exit code in a worker's answer, which is followed by the run's folder."""
    return int(answer.split(b" ", 1)[0])


class Pool:
    """So many workers, all of which end with the `with`."""

    def __init__(self, size: int, machine: Machine) -> None:
        self.workers = tuple(PoolWorker(size, machine) for _ in range(size))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.ExitStack() as stack:
            for worker in self.workers:
                stack.callback(worker.end)

    @property
    def running(self) -> list[PoolWorker]:
        """The workers that do a run."""
        return [worker for worker in self.workers if worker.state is State.RUNNING]

    @property
    def free(self) -> list[PoolWorker]:
        """The workers that can be given a run."""
        return [worker for worker in self.workers if worker.state is not State.RUNNING]

    def others(self, worker: PoolWorker) -> list[Needs]:
        """Return what the processes of the other workers do, or have done last."""
        return [other.last for other in self.workers if other is not worker and other.last is not None]

    def ended(self, seconds: float = LOOK_SECONDS) -> list[tuple[PoolWorker, Ended]]:
        """Wait for so long at most, and return the workers whose run has ended, and how."""
        running = self.running
        if not running:
            return []
        spoke = wait([worker.fileno() for worker in running], seconds)
        looked = [(worker, worker.look(spoke=worker.fileno() in spoke)) for worker in running]
        return [(worker, ended) for worker, ended in looked if ended is not None]
