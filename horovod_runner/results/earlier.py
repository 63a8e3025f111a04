"""Runs that were begun under other defaults than today's: they can be read, and nobody goes on among them.

Their names say nothing of what today's descriptions mean: every run would be done again beside them, and the report
would count it twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterator
from pathlib import Path

from horovod_runner.config.identity import SCHEMA
from horovod_runner.errors import SharedError, UserError
from horovod_runner.results.store import RunFolder, read_json


def refuse_earlier(experiment: Path, known: Container[str] = ()) -> None:
    """Raise SharedError where an experiment's folder holds runs of another schema; `known` are named by today's."""
    found = list(_earlier(experiment, known))
    if found:
        raise SharedError(
            f"{experiment} holds runs of another version, with other defaults or names ({len(found)}, the first is"
            f" {found[0]}): they can be reported as they are, but not gone on with; finish them with the version that"
            " began them, or choose another folder with --results"
        )


def _earlier(experiment: Path, known: Container[str]) -> Iterator[str]:
    """Yield the names of such runs, by name; what cannot be read is left for its reader to name."""
    for path in sorted(experiment.iterdir()) if experiment.is_dir() else ():
        file = RunFolder(path).config_file
        if path.name not in known and file.is_file():
            with contextlib.suppress(UserError):
                plain = read_json(file)
                if isinstance(plain, dict) and plain.get("schema") != SCHEMA:
                    yield path.name
