"""A small file about a machine: which launcher starts the ranks there, on which hosts, and how long one may be silent.

An experiment asks a question and names no machine; this file names one and asks nothing. What is not said is found:
inside an allocation of a scheduler the hosts are its hosts, elsewhere this one. `tune` adds what it has found to be the
fastest settings of a job there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from horovod_runner.config.diagnostics import unknown_key, wrong_value
from horovod_runner.config.job_settings import PATHS, JobSettings, When
from horovod_runner.config.yaml_files import read_file
from horovod_runner.errors import UserError
from horovod_runner.machine.hardware import describe as this_machine
from horovod_runner.machine.world import detect

VARIABLE = "HOROVOD_RUNNER_MACHINE"

Minutes = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]


class Machine(BaseModel):
    """How runs are started on a machine, and when one is given up."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    launcher: Literal["auto", "mpirun", "horovodrun", "srun"] = "auto"
    hosts: Annotated[dict[str, Annotated[int, Field(ge=1, le=4096)]], Field(max_length=100_000)] = {}  # name: workers
    options: tuple[str, ...] = ()  # further words for the launcher, as ["--mca", "btl_tcp_if_include", "ib0"]
    environment: dict[str, str] = {}  # variables that every rank gets
    silence_minutes: Minutes = 15.0  # without a step, a line or a file from a run, it hangs
    run_minutes: Minutes | None = None  # the longest that a whole run may take; None: as long as it shows progress
    tuned_on: Annotated[str, Field(pattern=r"^[0-9]+ cores?, [0-9a-f]{10}$")] | None = None  # where settings are from
    settings: tuple[JobSettings, ...] = ()  # defaults of the runs of a job; the first that fit a run are taken

    @field_validator("options", "environment", mode="before")
    @classmethod
    def _as_text(cls, given: object) -> object:
        """Take numbers and switches for the words that a command line and an environment are made of."""
        if isinstance(given, list):
            return [str(word) for word in given]
        return {name: str(value) for name, value in given.items()} if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _known_launcher(self) -> Self:
        if self.launcher == "auto" and self.options:
            raise ValueError("options: they belong to one launcher, so name it: launcher: mpirun")
        return self

    @property
    def before_launcher(self) -> Sequence[str]:
        """Words that stand before the launcher's own."""
        return ()

    def host_list(self) -> str:
        """Return the hosts as launchers want them: `node1:4,node2:4`."""
        return ",".join(f"{name}:{workers}" for name, workers in self.hosts.items())

    def require_room(self, workers: int) -> None:
        """Raise UserError where a run has more workers than the hosts take."""
        room = sum(self.hosts.values())
        if self.hosts and workers > room:
            raise UserError(f"a run has {workers} workers, and the machine's hosts take {room}; add some")


def load_machine(file: Path | None) -> Machine:
    """Read the file that is given, or that the environment names; without either, the machine is this one.

    UserError names the file, the key and the remedy, also where the file has settings of another machine.
    """
    named = file or (Path(os.environ[VARIABLE]).expanduser() if os.environ.get(VARIABLE) else None)
    if named is None:
        return Machine()
    machine = read_machine(named)
    # A run is of the machine that its rank 0 is on: ranks on other hosts are told nothing of their own.
    if any(entry.chosen.by_path() for entry in machine.settings) and detect().rank == 0:
        _require_tuned_here(machine, named)
    return machine


def read_machine(file: Path) -> Machine:
    """Read a machine file, whatever machine it was tuned on; UserError names the file, the key and the remedy."""
    document = read_file(file, "machine file")
    diagnostics = document.diagnostics(file)
    try:
        machine = Machine.model_validate(document.data or {})
    except ValidationError as error:
        for item in error.errors():
            diagnostics.add(item["loc"], _sentence(item))
        diagnostics.stop()
        raise
    diagnostics.stop()
    return machine


def fingerprint() -> str:
    """Return this machine as `tuned_on` has it: its cores, and what all nodes of its kind have in common."""
    here = this_machine()
    return f"{here['cores']} core{'s'[: here['cores'] != 1]}, {here['kind']}"


def _require_tuned_here(machine: Machine, file: Path) -> None:
    here = fingerprint()
    if machine.tuned_on is not None and machine.tuned_on != here:
        raise UserError(
            f"{file}: tuned_on: the settings were found on another kind of machine ({machine.tuned_on}; this one is"
            f" {here}); run horovod-runner tune here, or remove settings"
        )


def _sentence(item: Any) -> str:
    place = tuple(part for part in item["loc"] if part != "[key]")
    key = ".".join(map(str, place))
    if item["type"] == "extra_forbidden":
        return unknown_key(key, *_known(place))
    return wrong_value(key, item) if key else item["msg"].removeprefix("Value error, ")


def _known(place: tuple[Any, ...]) -> tuple[Iterable[str], str]:
    """Return the keys that may stand beside the one at this place, and what they are."""
    if place[0] == "settings" and len(place) > 2:
        inner: dict[str, tuple[Iterable[str], str]] = {
            "when": (When.model_fields, "key of a job"),
            "set": (PATHS, "setting that a machine may choose"),
        }
        return inner[place[2]] if len(place) > 3 else (inner, "key of settings")
    return Machine.model_fields, "key of a machine file"
