"""A study under another name: its folder, the records inside that bear the name, and the ids that follow from it.

The new folder is made beside the old one, of links to the same files where the disk has such, and takes its place in
one step: a run of this that is killed leaves the study as it was.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from horovod_runner.config.schema import RunConfig
from horovod_runner.config.stored import decode_stored, encode_stored
from horovod_runner.errors import UserError
from horovod_runner.results.store import RunFolder, claimed, full_disk_named, read_json, write_json

_MADE_ANEW = ("figures", "tables", "report.html")  # by the next report


def rename_study(old: Path, new: Path) -> int:
    """Rename a study's folder to `new`, beside it, and return how many loose runs have moved with it.

    A packed study is its folder's alone. UserError when there is something at `new`, or the study is being run.
    """
    if new.exists():
        raise UserError(f"{new}: is there already; choose another name, or move it away")
    partial = new.with_name(f".{new.name}.renamed")
    with full_disk_named(new), _no_runner(old):
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(old, partial, copy_function=_link, ignore=shutil.ignore_patterns(*_MADE_ANEW, ".runner-*"))
        folders = [file.parent for file in sorted(partial.glob("*/config.json"))]
        for folder in folders:
            _rename_run(RunFolder(folder), new.name)
        partial.rename(new)
        shutil.rmtree(old)
    return len(folders)


def _rename_run(folder: RunFolder, name: str) -> None:
    """Give a run and its saved states the experiment's new name, and its folder the id that follows from it."""
    config = _named(read_json(folder.config_file), name, folder.config_file)
    write_json(folder.config_file, encode_stored(config))
    for file in folder.checkpoints.glob("*.json"):
        state = read_json(file)
        write_json(file, {**state, "config": encode_stored(_named(state["config"], name, file))})
    if folder.result_file.exists():
        result = folder.read_result().model_copy(update={"experiment": name, "run_id": config.run_id})
        folder.write_result(result)
    folder.path.rename(folder.path.with_name(config.run_id))


def _named(plain: dict[str, Any], name: str, file: Path) -> RunConfig:
    """Return a stored description with the experiment's new name."""
    return decode_stored({**plain, "experiment": name}, str(file))


def _link(source: str, target: str) -> str:
    """Let two names have one file, or copy it where the disk has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


@contextlib.contextmanager
def _no_runner(study: Path) -> Iterator[None]:
    """Hold the locks of the study's runners and runs; UserError when somebody else has one."""
    with contextlib.ExitStack() as held:
        for lock in (*study.glob(".runner-*"), *study.glob("*/.claim"), *study.glob("*/.lock")):
            if not held.enter_context(claimed(lock)):
                raise UserError(f"{study} is being worked on; wait for its runner, or end it")
        yield
