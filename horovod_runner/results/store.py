"""The only code that knows where a result's files lie and how they are written.

`<results>/<experiment>/<run_id>/` holds config.json first, steps.jsonl and provenance.json while the run goes, and
result.json last: its absence means that the run is not done. Whole files appear atomically (written beside, flushed,
renamed); steps.jsonl only grows, and a line that a kill cut short is dropped when it is read.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from horovod_runner.config.schema import RunConfig
from horovod_runner.config.stored import decode_stored, encode_stored
from horovod_runner.errors import UserError
from horovod_runner.machine.terminal import warn
from horovod_runner.results.record import (
    RunResult,
    StepRecord,
    result_from_json,
    step_columns_from_json,
    step_from_json,
)

MANIFEST = "experiment.json"  # the manifest beside an experiment's runs, written before the first of them began


@dataclass(frozen=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @property
    def config_file(self) -> Path:
        """The run's whole description, written first."""
        return self.path / "config.json"

    @property
    def steps_file(self) -> Path:
        """One line a step, append-only."""
        return self.path / "steps.jsonl"

    @property
    def result_file(self) -> Path:
        """The summary, written last."""
        return self.path / "result.json"

    @property
    def predictions_file(self) -> Path:
        """What each validation example was taken for at the last validation, in classification."""
        return self.path / "predictions.npz"

    @property
    def provenance_file(self) -> Path:
        """Commit, machine, versions, launcher."""
        return self.path / "provenance.json"

    @property
    def log_file(self) -> Path:
        """What the ranks printed."""
        return self.path / "log.txt"

    @property
    def told_file(self) -> Path:
        """What rank 0 has for the user, while whoever started the run passes that on."""
        return self.path / ".told"

    @property
    def timeline_file(self) -> Path:
        """Horovod's timeline of the last start, where the run asks for one."""
        return self.path / "timeline.json"

    @property
    def claim(self) -> Path:
        """The file that a runner holds while it does the run."""
        return self.path / ".claim"

    @property
    def checkpoints(self) -> Path:
        """The folder of saved states."""
        return self.path / "checkpoints"

    @property
    def rendezvous(self) -> Path:
        """Where workers meet that have no Horovod to meet through."""
        return self.path / ".rendezvous"

    @property
    def done(self) -> bool:
        """Whether the run has a result that stands: one that failed or timed out is tried again."""
        return self.result_file.exists() and self.read_result().status in ("completed", "diverged")

    def ended_since(self, moment: float) -> bool:
        """Whether the run has a result, of whatever kind, that was written after this time.time()."""
        return self.result_file.exists() and self.result_file.stat().st_mtime >= moment

    def read_config(self) -> RunConfig:
        """Return the run's description; UserError when it is damaged."""
        return decode_stored(read_json(self.config_file), str(self.config_file))

    def read_result(self) -> RunResult:
        """Return the summary of a finished run; UserError when it is damaged or of another schema."""
        return result_from_json(_read_text(self.result_file), str(self.result_file))

    def read_steps(self) -> list[StepRecord]:
        """Return the recorded steps; a last line that was cut short is left out."""
        return [step_from_json(line, str(self.steps_file)) for line in self._step_lines()]

    def read_step_columns(self) -> dict[str, list[Any]]:
        """Return the recorded steps as a list for each field, for whoever reads many; see step_columns_from_json."""
        return step_columns_from_json(self._step_lines(), str(self.steps_file))

    def _step_lines(self) -> list[str]:
        return _read_text(self.steps_file).split("\n")[:-1] if self.steps_file.exists() else []

    def append_steps(self, steps: Sequence[StepRecord]) -> None:
        """Add lines for these steps, and see them to the disk."""
        text = "".join(step.model_dump_json(exclude_defaults=True) + "\n" for step in steps)
        with full_disk_named(self.steps_file), self.steps_file.open("a") as file:
            file.write(text)
            to_disk(file)

    def rewind_steps(self, last_step: int) -> list[StepRecord]:
        """Forget what was recorded after `last_step` (the checkpoint that a run goes on from); return what stays."""
        kept = [step for step in self.read_steps() if step.step <= last_step]
        write_text(self.steps_file, "".join(step.model_dump_json(exclude_defaults=True) + "\n" for step in kept))
        return kept

    def open(self, config: RunConfig) -> None:
        """Make the folder and write the run's description; UserError when the place cannot be written."""
        with full_disk_named(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.config_file, encode_stored(config))

    def log(self, line: str) -> None:
        """Add a line to the log."""
        append_line(self.log_file, line)

    def open_log(self) -> IO[bytes]:
        """Open the log for adding to it, as any number of workers may, in a folder that the first of them makes."""
        with full_disk_named(self.log_file):
            self.path.mkdir(parents=True, exist_ok=True)
            return self.log_file.open("ab")

    def discard_unbegun(self) -> None:
        """Remove the folder of a run that was refused before its workers met; one that holds more stays."""
        if any(file.exists() for file in (self.provenance_file, self.steps_file, self.result_file, self.checkpoints)):
            return
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):  # other runs are there, or the experiment's manifest
            self.path.parent.rmdir()

    def write_result(self, result: RunResult) -> None:
        """Write the summary: from now on the run is done."""
        write_text(self.result_file, result.to_json())


@dataclass(frozen=True)
class Store:
    """A folder of results."""

    root: Path

    def folder(self, config: RunConfig) -> RunFolder:
        """Return the folder of a run, whether it exists or not."""
        return RunFolder(self.root / config.experiment / config.run_id)

    def open_run(self, config: RunConfig) -> RunFolder:
        """Make the run's folder and write its description; UserError when the place cannot be written."""
        folder = self.folder(config)
        folder.open(config)
        return folder

    def names(self, experiment: str) -> frozenset[str]:
        """Return the names of an experiment's folders: one look at the disk for thousands of runs."""
        try:
            return frozenset(os.listdir(self.root / experiment))
        except OSError:
            return frozenset()

    def finished(self) -> Iterator[RunFolder]:
        """Yield every finished run, by path, whether this is the folder of a run, of an experiment, or of all."""
        for pattern in ("result.json", "*/result.json", "*/*/result.json"):
            for file in sorted(self.root.glob(pattern)):
                yield RunFolder(file.parent)


def read_manifest(experiment: Path) -> dict[str, Any]:
    """Return the manifest that `run` wrote beside an experiment's runs; empty where it did not."""
    file = experiment / MANIFEST
    return dict(read_json(file)) if file.exists() else {}


@contextlib.contextmanager
def exclusive(path: Path, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold the run's lock; UserError when another process still has it after `wait_seconds`."""
    give_up = time.monotonic() + wait_seconds
    while True:
        with claimed(path / ".lock") as mine:
            if mine:
                yield
                return
        if time.monotonic() >= give_up:
            raise UserError(f"{path} is being worked on by another process; wait for it, or end it")
        time.sleep(0.2)


@contextlib.contextmanager
def claimed(lock: Path) -> Iterator[bool]:
    """Hold a lock file, and say whether it could be had: the kernel frees it however the holder dies.

    Some file systems of clusters have no locks. There nothing is held, and the user is told once to see to it.
    """
    with full_disk_named(lock):
        file = lock.open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                raise
            _warn_without_locks(lock.parent.parent)
        yield True


_WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


@functools.cache
def _warn_without_locks(folder: Path) -> None:
    warn(f"{folder}: this file system has no locks; start no second runner that fills the same folder")


class Unwritable(UserError):
    """A place that cannot be written, where another folder helps; `option` is the one that chooses it."""

    def __init__(self, path: Path, cause: str, option: str = "--results") -> None:
        super().__init__(f"{path}: {cause}choose another folder with {option}")
        self.path, self.cause = path, cause


@contextlib.contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Turn what a user can fix about a disk into one sentence that names the path."""
    elsewhere = {
        errno.EACCES: "it may not be written: change its permissions, or ",
        errno.EROFS: "its file system is read-only: ",
        errno.ENOENT: "it cannot be made: ",
        errno.ENOTDIR: "a part of it is a file: ",
        errno.EEXIST: "a file is in its place: ",
    }
    remedies = {
        errno.ENOSPC: "the disk is full: free some space and give the same command again, it goes on",
        errno.EDQUOT: "the quota is used up: free some space and give the same command again, it goes on",
        errno.EFBIG: "the file may not grow that large: raise the limit, and give the same command again",
    }
    try:
        yield
    except OSError as error:
        if error.errno in elsewhere:
            raise Unwritable(path, elsewhere[error.errno]) from None
        if error.errno not in remedies:
            raise Unwritable(path, f"{(error.strerror or str(error)).lower()}: ") from None
        raise UserError(f"{path}: {remedies[error.errno]}") from None


def to_disk(file: IO[Any]) -> None:
    """See what was written to the disk, where its file system can do that."""
    file.flush()
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise


def append_line(path: Path, line: str) -> None:
    """Add a line to a file of lines; names of files that are no UTF-8 are told by their bytes' numbers."""
    with full_disk_named(path), path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(line + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace a file in one step, so that a reader sees the old or the new one, whole."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file in one step; nothing is left behind when the disk fills up. Its mode is what umask allows."""
    name = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    with full_disk_named(path):
        try:
            with open(name, "xb") as file:
                file.write(content)
                to_disk(file)
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):  # a signal may come when the file is in its place already
                os.unlink(name)
            raise


def write_json(path: Path, plain: Any) -> None:
    """Write plain data as indented JSON, atomically."""
    write_text(path, json.dumps(plain, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; UserError names the file when it is missing or damaged."""
    try:
        return json.loads(_read_text(path))
    except ValueError:
        raise UserError(f"{path} is not valid JSON; remove the run's folder, and the run is done again") from None


def _read_text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} cannot be read ({error}); remove the run's folder, and the run is done again"
        ) from None
