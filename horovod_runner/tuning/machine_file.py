"""Puts what a search found into a machine file, and leaves everything else in it as somebody wrote it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap

from horovod_runner.config.job_settings import JobSettings
from horovod_runner.config.machine import Machine, read_machine
from horovod_runner.config.yaml_files import round_trip
from horovod_runner.errors import UserError
from horovod_runner.results.store import write_text


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

    Those of other jobs stay if they were found on this machine, too; and so does all else, its remarks included.
    """
    machine = read_existing(file)
    yaml = round_trip()
    whole = (yaml.load(file.read_text()) if file.exists() else None) or CommentedMap()
    entry = JobSettings.model_validate({"when": dict(when), "set": dict(chosen)})
    here = machine.tuned_on in (None, fingerprint)
    others = [other for other in machine.settings if here and other.when != entry.when]
    if "tuned_on" not in whole:
        whole["tuned_on"] = fingerprint
        whole.yaml_add_eol_comment("found by horovod-runner tune", "tuned_on")
    whole["tuned_on"] = fingerprint
    whole["settings"] = [_written(one) for one in [entry, *others]]
    text = io.StringIO()
    yaml.dump(whole, text)
    write_text(file, text.getvalue())


def _written(entry: JobSettings) -> dict[str, Any]:
    """Return an entry as it stands in the file: a line for the job, and one for what was chosen for it."""
    return {"when": _flow(entry.when.by_key()), "set": _flow(entry.chosen.by_path())}


def _flow(plain: Mapping[str, Any]) -> CommentedMap:
    """Return a mapping that is written on one line, in braces."""
    line = CommentedMap(plain)
    line.fa.set_flow_style()
    return line
