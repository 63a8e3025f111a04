"""The file that a search keeps: every run of every round, so that the same command goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from horovod_runner.errors import UserError
from horovod_runner.results.record import Record, RunResult, Status
from horovod_runner.results.store import read_json, write_text
from horovod_runner.statistics.interval import Interval
from horovod_runner.tuning.space import Candidate

SCHEMA = 1


class Measurement(Record):
    """One run of one candidate; `seconds` from its launch to its end."""

    candidate: dict[str, Any]  # settings by path; empty for the default
    run_id: str
    status: Status
    images_per_second: Interval | None
    seconds: float
    error: str | None = None

    @property
    def key(self) -> Candidate:
        """The candidate."""
        return Candidate(tuple(self.candidate.items()))


class Round(Record):
    """Runs that are compared with each other; one that was cut short is not `whole`, and is compared with nothing."""

    number: int
    stage: str
    whole: bool
    runs: tuple[Measurement, ...]

    def rates(self) -> dict[Candidate, float]:
        """Return images per second of what completed."""
        rates = {run.key: run.images_per_second for run in self.runs if run.status == "completed"}
        return {candidate: rate.mean for candidate, rate in rates.items() if rate is not None}

    def is_of(self, stage: str, candidates: Sequence[Candidate]) -> bool:
        """Whether it is a whole round of these candidates."""
        return self.whole and self.stage == stage and {run.key for run in self.runs} == set(candidates)


class Decision(Record):
    """How a search ended: the settings that won (none: the defaults stay), and the ratio of what was judged."""

    winner: dict[str, Any]
    judged: dict[str, Any] | None
    ratio: Interval | None
    sentence: str


class Ledger(Record):
    """All of a search: what it is about, where it was made, its rounds, and its end once there is one."""

    schema_version: int = SCHEMA
    job: dict[str, Any]  # the default's whole description
    strategies: tuple[str, ...]
    machine: dict[str, Any]
    versions: dict[str, str | None]
    commit: str | None
    command: tuple[str, ...]
    started: str
    rounds: tuple[Round, ...] = ()
    decision: Decision | None = None

    @property
    def subject(self) -> tuple[Any, ...]:
        """What has to be equal for a search to go on."""
        return self.job, self.strategies, self.machine["id"], self.versions, self.commit


def read_ledger(file: Path) -> Ledger | None:
    """Return what a search kept, None if there is nothing; UserError when it is damaged."""
    if not file.exists():
        return None
    try:
        return Ledger.model_validate(read_json(file))
    except (ValidationError, UserError):
        raise UserError(f"{file} is not a record of tune; remove it, and everything is measured again") from None


def write_ledger(file: Path, ledger: Ledger) -> None:
    """Write all that is known, atomically."""
    write_text(file, ledger.model_dump_json(indent=1) + "\n")


def measurement(candidate: Candidate, result: RunResult, seconds: float) -> Measurement:
    """Return what a run says about its candidate; a run that timed no step has failed."""
    error, status = result.error, result.status
    if status == "completed" and result.images_per_second is None:
        status, error = "failed", "no step was timed"
    return Measurement(
        candidate=dict(candidate.settings),
        run_id=result.run_id,
        status=status,
        images_per_second=result.images_per_second,
        seconds=round(seconds, 3),
        error=error,
    )
