"""One run, fully described: decoded and validated once, and frozen; identity.py makes its id.

Nothing else in the suite reads options, variables of the environment or defaults: whoever holds a `RunConfig` knows
all that can change its result. `decode` turns plain data (a YAML mapping, the command line) into one and reports
every mistake at once. settings.py has the settings themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

from pydantic import ValidationError, ValidationInfo, field_validator, model_validator

from benchmarks.workloads import WORKLOADS
from horovod_runner.config.defaults import with_defaults
from horovod_runner.config.diagnostics import Inconsistent, WrongSettings, wrong_value
from horovod_runner.config.identity import run_id
from horovod_runner.config.names import unknown_setting
from horovod_runner.config.settings import RunSettings
from horovod_runner.config.validation import inconsistencies


class RunConfig(RunSettings):
    """One run of one job in one framework on so many workers: nothing left out, nothing that contradicts itself."""

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, raw: Any) -> Any:
        """Fill what depends on the workload, so that equal runs have equal descriptions."""
        if not isinstance(raw, Mapping):
            return raw
        return with_defaults(dict(raw))

    @field_validator("workload")
    @classmethod
    def _known_workload(cls, name: str) -> str:
        if name not in WORKLOADS:
            raise ValueError(f"there is no {name!r}; choose one of {', '.join(sorted(WORKLOADS))}")
        return name

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> Self:
        if info.context != "stored" and (sentences := inconsistencies(self)):
            raise Inconsistent(sentences)
        return self

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy, as pydantic does, that works its own run id out."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("run_id", None)
        return copied

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that `decode` turns into an equal config."""
        return self.model_dump(mode="json")

    @cached_property
    def run_id(self) -> str:
        """The name of the run's folder: readable first, then unique."""
        return run_id(self)


def decode(raw: Mapping[str, Any], source: str) -> RunConfig:
    """Validate plain data into a config; WrongSettings names `source` and every key that is wrong, in one sentence."""
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        raise WrongSettings(source, problems(error)) from None


def problems(error: ValidationError) -> list[tuple[str, str]]:
    """Return (key, sentence) of everything that is wrong with a run's settings."""
    return [problem for item in error.errors() for problem in _problems_of(item)]


def _problems_of(item: Any) -> list[tuple[str, str]]:
    """Return (key, sentence) of one complaint; the checks of the whole run have several in one."""
    cause = item.get("ctx", {}).get("error")
    if isinstance(cause, Inconsistent):
        return [(sentence.split(":")[0], sentence) for sentence in cause.sentences]
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return [(key, unknown_setting(key))]
    return [(key, wrong_value(key, item))]
