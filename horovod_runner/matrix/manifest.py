"""The manifest of an experiment, written beside its runs before the first of them begins: a margin that is stated
afterwards is no margin.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from horovod_runner.errors import UserError
from horovod_runner.matrix.design import Experiment
from horovod_runner.results.store import MANIFEST, Store, full_disk_named, read_manifest, write_json

SCHEMA = 1


def write_down(experiment: Experiment, file: Path, store: Store) -> Path:
    """Write `experiment.json` into the folder of the experiment's runs, and return it.

    `stated` is when its margins were first written there. UserError when runs that are done had other margins.
    """
    require_same_margins(experiment, file, store)
    folder = store.root / file.stem
    known, margins = read_manifest(folder), dict(experiment.margins)
    before = known.get("margins", {})
    now = datetime.now(UTC).isoformat(timespec="seconds")
    manifest = {"schema": SCHEMA, "stated": known.get("stated", now) if before == margins else now}
    manifest |= experiment.model_dump(mode="json", exclude={"smoke"})
    with full_disk_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / MANIFEST, manifest)
    return folder / MANIFEST


def require_same_margins(experiment: Experiment, file: Path, store: Store) -> None:
    """UserError when runs that are done, or begun, had other margins: what is changed after a look proves nothing."""
    folder = store.root / file.stem
    known, margins = read_manifest(folder), dict(experiment.margins)
    before = known.get("margins", {})
    if before != margins and _begun(folder):
        was = f"{_shown(before)}, stated {known['stated']}" if before else "none"
        raise UserError(
            f"{file}: margins: are {_shown(margins)}, and the runs in {folder} were begun with {was}; keep those, or"
            " choose another folder with --results"
        )


def _shown(margins: Mapping[Any, float]) -> str:
    return ", ".join(f"{name}: {value:g}" for name, value in margins.items()) or "none"


def _begun(folder: Path) -> bool:
    """Whether the folder holds a run, finished or not, or a packed study."""
    return any(folder.glob("*/config.json")) or (folder / "runs.parquet").exists()
