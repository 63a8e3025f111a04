"""The manifest of an experiment, written beside its runs before the first of them begins: a margin that is stated
afterwards is no margin.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from horovod_runner.errors import UserError
from horovod_runner.matrix.design import Experiment
from horovod_runner.results.store import MANIFEST, Store, full_disk_named, read_manifest, write_json

SCHEMA = 1
AMENDED = ("base", "axes", "arms", "scaling", "repeats", "exclude")
"""What a conclusion depends on, and words of description do not."""


def write_down(experiment: Experiment, file: Path, store: Store) -> Path:
    """Write `experiment.json` into the folder of the experiment's runs, and return it.

    `stated` is when it was first written there, or last before its first run. Margins are not changed after that
    (UserError); what else is, is kept as an amendment, with its date and what it was, and reports say so.
    """
    require_same_margins(experiment, file, store)
    folder = store.root / file.stem
    known, now = read_manifest(folder), datetime.now(UTC).isoformat(timespec="seconds")
    asked = json.loads(experiment.model_dump_json(exclude={"smoke"}))
    changed = {key: known[key] for key in AMENDED if key in known and known[key] != asked[key]}
    amendments, stated = list(known.get("amendments", ())), known.get("stated", now)
    if not _begun(folder):
        stated = stated if not changed and known.get("margins") == asked["margins"] else now
    elif changed:
        amendments.append({"date": now, "was": changed})
    manifest = {"schema": SCHEMA, "stated": stated} | ({"amendments": amendments} if amendments else {}) | asked
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
