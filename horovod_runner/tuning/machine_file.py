"""Puts what a search found into a machine file, and leaves everything else in it as somebody wrote it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from horovod_runner.config.job_settings import JobSettings
from horovod_runner.config.machine import Machine, read_machine
from horovod_runner.config.yaml_files import load_yaml
from horovod_runner.errors import UserError
from horovod_runner.results.store import write_text

_OURS = ("tuned_on", "settings")


def read_existing(file: Path) -> Machine:
    """Return the machine that is to be tuned, as far as the file describes it; UserError names what cannot be written.

    Settings that are there already may be another machine's: they are about to be replaced.
    """
    if file.exists():
        return read_machine(file)
    if not file.parent.is_dir():
        raise UserError(f"--machine {file}: there is no folder {file.parent}; make it, or name another file")
    return Machine()


def add_settings(file: Path, when: Mapping[str, Any], chosen: Mapping[str, Any], fingerprint: str) -> None:
    """Write the settings of a job into a machine file, in the place of that job's earlier ones.

    Those of other jobs stay if they were found on this machine, too.
    """
    machine = read_existing(file)
    text = file.read_text() if file.exists() else ""
    entry = JobSettings.model_validate({"when": dict(when), "set": dict(chosen)})
    here = machine.tuned_on in (None, fingerprint)
    others = [other for other in machine.settings if here and other.when != entry.when]
    own = _text(fingerprint, [entry, *others])
    new = _without_ours(text) + own
    expected = {**_plain(text), **load_yaml(own)}
    if _plain(new) != expected:  # a file that is not written a key a line
        new = yaml.safe_dump(expected, sort_keys=False)
    write_text(file, new)


def _text(fingerprint: str, entries: list[JobSettings]) -> str:
    lines = [f"tuned_on: {fingerprint}   # found by horovod-runner tune", "settings:"]
    for entry in entries:
        lines.append(f"  - when: {_flow(entry.when.model_dump(exclude_none=True))}")
        lines.append(f"    set: {_flow(entry.chosen.by_path())}")
    return "\n".join(lines) + "\n"


def _flow(plain: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(plain), default_flow_style=True, sort_keys=False, width=10_000).strip()


def _without_ours(text: str) -> str:
    """Return a file without the lines of our keys: from the key to the next line that begins with a word or remark."""
    kept, ours = [], False
    for line in text.splitlines():
        if re.match(r"[^\s-]", line):
            ours = line.startswith(tuple(f"{key}:" for key in _OURS))
        if not ours:
            kept.append(line + "\n")
    return "".join(kept)


def _plain(text: str) -> dict[str, Any]:
    """Return the other keys of a file, or all of what is about to be one; what is no YAML is no file of ours."""
    try:
        return dict(load_yaml(text) or {})
    except (yaml.YAMLError, ValueError, TypeError):
        return {}
