"""A small file about a machine: which launcher starts the ranks there, on which hosts, and how long one may be silent.

An experiment asks a question and names no machine; this file names one and asks nothing. What is not said is found:
inside an allocation of a scheduler the hosts are its hosts, elsewhere this one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from horovod_runner.errors import UserError
from horovod_runner.plain import load_yaml
from horovod_runner.sentences import unknown_key, wrong_value

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

    UserError names the file, the key and the remedy.
    """
    named = file or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named is None:
        return Machine()
    try:
        return Machine.model_validate(load_yaml(named.read_text()) or {})
    except OSError as error:
        raise UserError(f"{named} cannot be read ({error.strerror}); name a machine file") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise UserError(f"{named} is not valid YAML; mend it") from None
    except ValidationError as error:
        raise UserError(f"{named}: {'; '.join(_sentence(item) for item in error.errors())}") from None


def _sentence(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"] if part != "[key]")
    if item["type"] == "extra_forbidden":
        return unknown_key(key, Machine.model_fields, "key of a machine file")
    return wrong_value(key, item) if key else item["msg"].removeprefix("Value error, ")
