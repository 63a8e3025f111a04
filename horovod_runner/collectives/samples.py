"""What the ranks of one launch and the process that started them tell each other: files in a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from horovod_runner.collectives.plan import Plan
from horovod_runner.config.settings import Settings
from horovod_runner.results.store import full_disk_named, read_json, write_text

Rows = tuple[tuple[float, ...], ...]


class Sample(Settings):
    """One case as it was timed: seconds of every iteration, (ranks, iterations), those of the warm-up kept apart."""

    case: str
    warm_up: Rows
    seconds: Rows
    correct: bool


@dataclass(frozen=True)
class Folder:
    """The files of one launch."""

    path: Path

    @property
    def plan_file(self) -> Path:
        """What the ranks do."""
        return self.path / "plan.json"

    @property
    def samples_file(self) -> Path:
        """One line a case, written by rank 0."""
        return self.path / "samples.jsonl"

    @property
    def origin_file(self) -> Path:
        """Where and by what it was measured, as rank 0 sees it; touched while a case goes on."""
        return self.path / "origin.json"

    @property
    def log_file(self) -> Path:
        """What the ranks and their launcher printed."""
        return self.path / "log.txt"

    def write_plan(self, plan: Plan) -> None:
        """Make the folder, with what the ranks are to do."""
        with full_disk_named(self.path):
            self.path.mkdir(parents=True)
        write_text(self.plan_file, plan.model_dump_json())

    def read_plan(self) -> Plan:
        """Return what the ranks are to do."""
        return Plan.model_validate_json(self.plan_file.read_text())

    def append(self, sample: Sample) -> None:
        """Add the line of a case."""
        with full_disk_named(self.samples_file), self.samples_file.open("a") as file:
            file.write(sample.model_dump_json() + "\n")

    def beat(self) -> None:
        """Show that the ranks are alive."""
        os.utime(self.origin_file)

    def read_samples(self) -> list[Sample]:
        """Return the cases that were finished."""
        if not self.samples_file.exists():
            return []
        lines = self.samples_file.read_text().split("\n")[:-1]
        return [Sample.model_validate_json(line) for line in lines]

    def read_origin(self) -> dict[str, Any]:
        """Return where and by what it was measured; empty where the ranks did not come so far."""
        plain: dict[str, Any] = read_json(self.origin_file) if self.origin_file.exists() else {}
        return plain
