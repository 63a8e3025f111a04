"""The verb `rename`: an experiment file and its results, or a study's folder alone, under another name."""

from __future__ import annotations

import re
from pathlib import Path

from horovod_runner.config.settings import EXPERIMENT_NAME
from horovod_runner.errors import UserError
from horovod_runner.machine.terminal import tell
from horovod_runner.results.renamed import rename_study


def rename(old: Path, new: str, results: Path) -> int:
    """Rename an experiment file with the study below `results`, or the folder of a study; say what has moved."""
    if not re.match(EXPERIMENT_NAME, new):
        raise UserError(f"{new}: is no name of an experiment; use letters, digits, '.', '-' and '_' only")
    file = old if old.is_file() else None
    study = results / old.stem if file else old
    if file is None and not _is_study(study):
        raise UserError(f"{old}: is neither an experiment file nor the folder of a study; name one of them")
    renamed = file and file.with_name(f"{new}{file.suffix}")
    if renamed and renamed.exists():
        raise UserError(f"{renamed}: is there already; choose another name, or move it away")
    if study.is_dir():
        runs = rename_study(study, study.with_name(new))
        tell(f"{study} is {study.with_name(new)} now" + (f", with {runs} runs" if runs else ""))
    if file and renamed:
        file.rename(renamed)
        tell(f"{file} is {renamed} now")
    return 0


def _is_study(folder: Path) -> bool:
    return any(folder.glob("*/config.json")) or any(
        (folder / name).exists() for name in ("runs.parquet", "experiment.json")
    )
