"""A run's id: its folder's name, readable first, then a hash of what differs from the defaults and of the schema.

What is at its default takes no part, so that a setting that is added, with a default that leaves runs as they were,
renames no run that exists. A default that is *changed* makes other runs of the same descriptions: whoever changes one,
in the schema, the table of workloads or that of sources, raises `SCHEMA`, which renames them all
(tests/unit/config/defaults.json holds every default, and its test fails until that is done).
"""

from __future__ import annotations

import functools
import hashlib
import json
from typing import Any

from pydantic import BaseModel

from horovod_runner.config.defaults import filled_in
from horovod_runner.config.settings import RunSettings

SCHEMA = 1

_Setting = tuple[str, str, Any]  # name, path, default


def run_id(config: RunSettings) -> str:
    """Return the name that this run has, and no other."""
    words = json.dumps([SCHEMA, differing(config)], sort_keys=True)
    return (
        f"{config.workload}-{config.framework}-n{config.workers}-b{config.local_batch}-s{config.seed}r{config.repeat}"
        f"-{hashlib.sha256(words.encode()).hexdigest()[:10]}"
    )


def differing(config: RunSettings) -> dict[str, Any]:
    """Return the settings that are not at their default, by path; decoded, they make an equal config."""
    found, follows = {}, filled_in(config)
    for groups, settings in _settings(type(config)):
        own = functools.reduce(getattr, groups, config).__dict__
        for name, path, default in settings:
            value = own[name]
            if (value is not default and value != default) or path in follows:
                found[path] = value
    return {path: value for path, value in found.items() if path not in follows or value != follows[path]}


@functools.cache
def _settings(kind: type[BaseModel], groups: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], list[_Setting]]]:
    """Return every group's settings that are no groups: the group's place, and name, path and default of each.

    Plans have thousands of runs, and each has an id: so the groups are walked through once, and not for every run.
    """
    inner: dict[str, type[BaseModel]] = {}
    own: list[_Setting] = []
    for name, field in kind.model_fields.items():
        if isinstance(field.default, BaseModel):
            inner[name] = type(field.default)
        else:
            own.append((name, ".".join((*groups, name)), field.default))
    return [(groups, own), *(each for name, group in inner.items() for each in _settings(group, (*groups, name)))]
