"""How a run that was started has ended: with the result that it left, or with one that says why it has none."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from horovod_runner.config.schema import RunConfig
from horovod_runner.errors import EXIT_DIVERGED, UserError
from horovod_runner.launch import failures
from horovod_runner.launch.processes import Ended
from horovod_runner.results.record import RunResult, Status
from horovod_runner.results.store import RunFolder, Store
from horovod_runner.results.summary import summarise

LATE_SECONDS = 10.0  # network file systems remember for some seconds that a file was not there


@dataclass(frozen=True)
class Begun:
    """A run at its start: the clock, the length of its log, and the processes ended for lack of memory until then."""

    config: RunConfig
    folder: RunFolder
    clock: float
    config_written: float
    said_before: int
    oom_kills: int
    at_once: int = 1


def begin(config: RunConfig, store: Store, at_once: int = 1) -> Begun:
    """Make the run's folder, and note what its ending is judged by."""
    folder = store.open_run(config)
    said_before = folder.log_file.stat().st_size if folder.log_file.exists() else 0
    written = folder.config_file.stat().st_mtime  # by the clock of its file system, which may be another host's
    return Begun(config, folder, time.perf_counter(), written, said_before, failures.oom_kills(), at_once)


def result_of(begun: Begun, ended: Ended) -> RunResult:
    """Return the result of a run; of one that left none it is made and kept here, with the diagnosis of its failure.

    UserError when a worker refused to run.
    """
    folder = begun.folder
    if not ended.given_up and ended.code in (0, EXIT_DIVERGED) and _has_result(folder):
        return folder.read_result()
    result = _failure(begun, ended)
    folder.write_result(result)
    return result


def _has_result(folder: RunFolder) -> bool:
    """Whether a run that ended well has left its result; what another host wrote may come late to a shared disk."""
    give_up = time.monotonic() + LATE_SECONDS
    while not folder.done:
        if time.monotonic() > give_up:
            return False
        time.sleep(0.2)
    return True


def diagnosis(begun: Begun, ended: Ended) -> tuple[str, list[str]]:
    """Return why a run failed, in one line, and what its log says last; UserError when a worker refused to run."""
    lines = failures.said(begun.folder.log_file, begun.said_before)
    if not ended.given_up and failures.refused(ended.code, lines):
        complaint = failures.complaint(lines)
        if complaint is None:
            raise UserError(f"a worker refused to run; see {begun.folder.log_file}")
        begun.folder.discard_unbegun()
        raise UserError(complaint)
    oom_kills = failures.oom_kills() - begun.oom_kills
    why = ended.given_up or failures.reason(ended.code, lines, oom_kills)
    return f"{why}{'' if _joined(begun) else failures.suspects(os.environ)}", failures.tail(lines)


def _joined(begun: Begun) -> bool:
    """Whether the ranks have met, this time: the first of them then writes where the run is made."""
    file = begun.folder.provenance_file
    return begun.config.workers == 1 or (file.exists() and file.stat().st_mtime >= begun.config_written)


def _failure(begun: Begun, ended: Ended) -> RunResult:
    status: Status = "timeout" if ended.given_up else "failed"
    why, last = diagnosis(begun, ended)
    return summarise(
        begun.config,
        status,
        steps=begun.folder.read_steps(),
        wall_seconds=time.perf_counter() - begun.clock,
        at_once=begun.at_once,
        error=why,
        log_tail=last,
    )
