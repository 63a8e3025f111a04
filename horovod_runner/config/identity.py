"""A run's id: its folder's name, readable first, then a hash of what differs from the defaults and of the schema.

What is at its default takes no part, so that a setting that is added, with a default that leaves runs as they were,
renames no run that exists. A default that is *changed* makes other runs of the same descriptions: whoever changes one,
in the schema, the table of workloads or that of sources, raises `SCHEMA`, which renames them all
(tests/unit/config/defaults.json holds every default, and its test fails until that is done).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from horovod_runner.config.defaults import filled_in

if TYPE_CHECKING:
    from horovod_runner.config.schema import RunConfig

SCHEMA = 1


def run_id(config: RunConfig) -> str:
    """Return the name that this run has, and no other."""
    words = json.dumps([SCHEMA, differing(config)], sort_keys=True)
    return (
        f"{config.workload}-{config.framework}-n{config.workers}-b{config.local_batch}-s{config.seed}r{config.repeat}"
        f"-{hashlib.sha256(words.encode()).hexdigest()[:10]}"
    )


def differing(config: RunConfig) -> dict[str, Any]:
    """Return the settings that are not at their default, by path; decoded, they make an equal config."""
    return dict(_differing(config, filled_in(config), ""))


def _differing(group: BaseModel, follows: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    own = group.__dict__
    for name, path, default in _settings(type(group), prefix):
        value = own[name]
        if isinstance(value, BaseModel):
            yield from _differing(value, follows, f"{path}.")
        elif value != follows.get(path, default):
            yield path, value


@cache
def _settings(group: type[BaseModel], prefix: str) -> list[tuple[str, str, Any]]:
    """Return name, path and default of every setting of a group."""
    return [(name, prefix + name, field.default) for name, field in group.model_fields.items()]
