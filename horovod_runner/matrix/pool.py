"""Lanes: processes of this machine that do runs of one worker side by side, each one run after another.

All are driven from one thread, which gives a lane a run, and waits until some have ended theirs.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any, Self

from horovod_runner.config.machine import Machine
from horovod_runner.errors import EXIT_DIVERGED
from horovod_runner.launch.processes import LOOK_SECONDS, Ended, Patience, conversing, environment
from horovod_runner.matrix.sharing import Needs
from horovod_runner.results.store import RunFolder
from horovod_runner.training.worker import LOGGED


class Lane:
    """One lane: a process that is started when it is first needed, and anew where the next run needs another."""

    def __init__(self, at_once: int, machine: Machine) -> None:
        self.last: Needs | None = None  # the run that it does or has done; None where its process has done none
        self._at_once, self._machine = at_once, machine
        self._alive = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._patience: Patience | None = None

    def give(self, run: Needs, folder: RunFolder) -> None:
        """Have a run done whose folder is there."""
        serves = self.last is not None and self.last.process == run.process
        if self._process is None or self._process.poll() is not None or not serves:
            self.close()
            argv = [sys.executable, "-m", "horovod_runner.training.pool_worker", str(self._at_once)]
            variables = environment(self._machine) | {LOGGED: "1"}
            self._process = self._alive.enter_context(conversing(argv, variables))
        self.last, self._patience = run, Patience(self._machine, folder)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has just died: there will be no answer
            self._process.stdin.write(f"{folder.path}\n".encode())

    @property
    def answers(self) -> Any:
        """The pipe on which it answers, to be waited for."""
        assert self._process is not None
        return self._process.stdout

    def ended(self, *, spoke: bool) -> Ended | None:
        """Return how its run has ended, or None while it goes on; `spoke`: its pipe has something, or is closed."""
        assert self._process is not None and self._process.stdout is not None and self._patience is not None
        if spoke:
            answer = self._process.stdout.readline()
            return self._closed_unless_clean(Ended(code_of(answer) if answer else self._process.wait()))
        if self._process.poll() is not None:  # its children may keep the pipe open
            return self._closed_unless_clean(Ended(self._process.returncode))
        why = self._patience.over()
        return None if why is None else self._closed_unless_clean(Ended(1, given_up=why))

    def _closed_unless_clean(self, ended: Ended) -> Ended:
        if ended.given_up or ended.code not in (0, EXIT_DIVERGED):
            self.close()
        return ended

    def close(self) -> None:
        """End its process, and with it the run that it may have."""
        self._alive.close()
        self._process = self.last = None


def code_of(answer: bytes) -> int:
    """Return the exit code in a lane's answer, which is followed by the run's folder."""
    return int(answer.split(b" ", 1)[0])


class Lanes:
    """So many lanes, all of which end with the `with`."""

    def __init__(self, at_once: int, machine: Machine) -> None:
        self._all = [Lane(at_once, machine) for _ in range(at_once)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.ExitStack() as stack:
            for lane in self._all:
                stack.callback(lane.close)

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._all)

    @staticmethod
    def ended(busy: list[Lane], seconds: float = LOOK_SECONDS) -> list[tuple[Lane, Ended]]:
        """Wait for so long at most, and return the lanes whose run has ended, and how."""
        spoke = wait([lane.answers for lane in busy], seconds)
        told = [(lane, lane.ended(spoke=lane.answers in spoke)) for lane in busy]
        return [(lane, ended) for lane, ended in told if ended is not None]
