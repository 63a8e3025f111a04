"""Settings that a machine file gives to the runs of a job, as defaults: what the user or an experiment sets, stays.

Only settings are admitted that change how fast a run is and not what it computes, but for rounding.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from horovod_runner.config.defaults import put_all
from horovod_runner.config.diagnostics import WrongSettings
from horovod_runner.config.one_of import OneOf
from horovod_runner.config.schema import RunConfig, decode
from horovod_runner.config.settings import ClusterConfig, FrameworkName, NonNegative, Positive, Settings
from horovod_runner.config.strategies import EQUAL


class When(Settings):
    """The job whose runs are meant; what is left out may be anything."""

    workload: str | None = None
    framework: FrameworkName | None = None
    workers: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    cluster: ClusterConfig = ClusterConfig()  # runs on other emulated hosts, or on none, are of another job

    def matches(self, plain: Mapping[str, Any]) -> bool:
        """Say whether a run, described before its defaults are filled in, is one of the job."""
        wanted = self.by_key()
        emulated = _without_none(plain.get("cluster")), _without_none(wanted.pop("cluster", None))
        others = all(plain.get(key, RunConfig.model_fields[key].default) == value for key, value in wanted.items())
        return others and emulated[0] == emulated[1]

    def by_key(self) -> dict[str, Any]:
        """Return what is said of the job, as it stands in a file."""
        return {key: value for key, value in self.model_dump(exclude_none=True).items() if value != {}}


def _without_none(group: Any) -> Any:
    """Return a group of settings, which may be none, without those that are not given."""
    return {k: v for k, v in (group or {}).items() if v is not None} if isinstance(group or {}, Mapping) else group


class Chosen(Settings):
    """The settings that a machine may choose, by their path."""

    model_config = ConfigDict(populate_by_name=False)

    strategy: Annotated[str, OneOf(EQUAL)] | None = None
    controller: Literal["mpi", "gloo"] | None = Field(None, alias="allreduce.controller")
    cycle_ms: Positive | None = Field(None, alias="allreduce.cycle_ms")
    fusion_mb: NonNegative | None = Field(None, alias="allreduce.fusion_mb")
    yield_when_idle: bool | None = Field(None, alias="allreduce.yield_when_idle")
    cache: bool | None = Field(None, alias="allreduce.cache")
    hierarchical: bool | None = Field(None, alias="allreduce.hierarchical")
    threads: Annotated[int, Field(ge=1, le=4096)] | None = None

    def by_path(self) -> dict[str, Any]:
        """Return what is chosen, by the path of the setting."""
        return self.model_dump(by_alias=True, exclude_none=True)


PATHS = tuple(field.alias or name for name, field in Chosen.model_fields.items())


class JobSettings(Settings):
    """What the runs of one job get."""

    when: When = When()
    chosen: Chosen = Field(alias="set")


def decode_with(settings: Sequence[JobSettings], plain: Mapping[str, Any], source: str) -> RunConfig:
    """Validate a run with the first settings that are for it as its defaults; WrongSettings as `decode` raises it.

    All settings of a strategy that were chosen were chosen together: who sets one of them gets none of the others. So
    does a run that they do not suit, as an optimizer may not suit a strategy. Threads are apart from that.
    """
    chosen = next((entry.chosen.by_path() for entry in settings if entry.when.matches(plain)), {})
    threads = {path: value for path, value in chosen.items() if path == "threads" and not is_given(plain, path)}
    reduces = any(is_given(plain, path) for path in PATHS if path != "threads")
    reduction = {} if reduces else {path: value for path, value in chosen.items() if path != "threads"}
    own = put_all(plain, threads)
    tuned = put_all(own, reduction)
    if reduction:
        with contextlib.suppress(WrongSettings):
            return decode(tuned, source)
    return decode(own, source)


def is_given(plain: Mapping[str, Any], path: str) -> bool:
    """Say whether a run's description has a setting; a group that is no group is left for the check to name."""
    head, _, rest = path.partition(".")
    if not rest or head not in plain:
        return head in plain
    inner = plain[head]
    return is_given(inner, rest) if isinstance(inner, Mapping) else inner is not None
