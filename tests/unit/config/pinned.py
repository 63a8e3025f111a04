"""Every default of a run, held against defaults.json beside this file: to change one is to change runs.

`python -m tests.unit.config.pinned` writes the file anew, unless it would hide a change that the schema's number does
not tell.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from benchmarks.data import SOURCES
from benchmarks.workloads import WORKLOADS, Workload
from horovod_runner.config.defaults import filled_in
from horovod_runner.config.frameworks import one_with
from horovod_runner.config.identity import SCHEMA
from horovod_runner.config.schema import RunConfig, decode

FILE = Path(__file__).with_name("defaults.json")
SIZES = (32, 64, 223, 224, 256)  # on both sides of where a specification chooses otherwise
ANEW = ".venv/bin/python -m tests.unit.config.pinned"


def current() -> dict[str, Any]:
    """Return every default by a name that says whose it is."""
    defaults = {f"run: {path}": value for path, value in _of_group(RunConfig, "")}
    for name, source in SOURCES.items():
        defaults[f"source {name}: image_size"] = source.image_size
        defaults[f"source {name}: examples"] = source.examples
    for job in WORKLOADS.values():
        defaults |= {f"workload {job.name}: {path}": value for path, value in _of_job(job)}
    return json.loads(json.dumps(defaults))


def complaints(pinned: dict[str, Any], now: dict[str, Any], schema: int) -> list[str]:
    """Return what has to be done about defaults that are no longer the pinned ones, a sentence each."""
    was = pinned["defaults"]
    changed = [
        f"{key} was {was[key]!r} and is {now.get(key, 'gone')!r}" for key in was if now.get(key, ...) != was[key]
    ]
    new = [key for key in now if key not in was]
    if changed and schema == pinned["schema"]:
        return [
            f"{'; '.join(changed)}: a changed default makes other runs of old descriptions, so raise SCHEMA in"
            " horovod_runner/config/identity.py, carry over the committed studies, whose runs it names anew, say in"
            " horovod_runner/config/stored.py what a description of a lower number means that lacks the setting, and"
            f" write the defaults anew with: {ANEW}"
        ]
    if changed or schema != pinned["schema"]:
        return [f"the schema is {schema}, the pinned defaults are of {pinned['schema']}; write them anew with: {ANEW}"]
    if new:
        return [f"{', '.join(new)}: new; see that with it runs are what they were, and pin it with: {ANEW}"]
    return []


def _of_group(group: type[BaseModel], prefix: str) -> list[tuple[str, Any]]:
    settings: list[tuple[str, Any]] = []
    for name, field in group.model_fields.items():
        if isinstance(field.default, BaseModel):
            settings += _of_group(type(field.default), f"{prefix}{name}.")
        else:
            settings.append((prefix + name, "required" if field.is_required() else field.default))
    return settings


def _of_job(job: Workload) -> list[tuple[str, Any]]:
    """Return what a job fills in, for its own data and a folder, its own length and a given one, and each optimizer."""
    plain = {"framework": one_with(job.name), "workload": job.name}
    filled = filled_in(decode(plain, "pinned"))
    defaults = [(path, value) for path, value in filled.items() if path not in job.options]
    folder = filled_in(decode({**plain, "data": {"path": "some/folder"}}, "pinned"))
    defaults += [(f"{path}, of a folder", value) for path, value in folder.items() if path.startswith("data.")]
    defaults += [(f"learning rate of {optimizer}", rate) for optimizer, rate in job.learning_rates.items()]
    return defaults + [(f"{o} at {size} pixels", job.default_option(o, size)) for o in job.options for size in SIZES]


def main() -> int:
    """Write the defaults anew; return 1, having said why, where a changed default asks for a new number first."""
    now = current()
    if FILE.exists():
        pinned = json.loads(FILE.read_text())
        if pinned["schema"] == SCHEMA and any(now.get(key, ...) != value for key, value in pinned["defaults"].items()):
            print(*complaints(pinned, now, SCHEMA), file=sys.stderr)
            return 1
    FILE.write_text(json.dumps({"schema": SCHEMA, "defaults": now}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
