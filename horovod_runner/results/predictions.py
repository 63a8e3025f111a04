"""What each validation example was taken for at the end of a run: so that runs can be compared example by example.

Two runs whose accuracies differ by two in a hundred may err on the same examples or on others; a paired comparison
(McNemar's test) needs to know which.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np

from horovod_runner.errors import UserError
from horovod_runner.results.store import write_bytes


class Predictions(NamedTuple):
    """The last validation, after so many steps, by example: int64 (examples,), in the order of the validation set.

    Examples are counted from 0 in the order of the source; those that could not be read are missing.
    """

    step: int
    example: np.ndarray
    target: np.ndarray
    predicted: np.ndarray


def write_predictions(file: Path, step: int, targets: np.ndarray, predicted: np.ndarray) -> None:
    """Write the rows of all workers, (workers, rows): row i of worker r is example r + i * workers; -1: none."""
    example = np.arange(targets.size).reshape(targets.shape[::-1]).T
    read = targets >= 0
    order = np.argsort(example[read])
    columns = [column[read][order].astype(np.int64) for column in (example, targets, predicted)]
    out = io.BytesIO()
    np.savez(out, step=np.int64(step), example=columns[0], target=columns[1], predicted=columns[2])
    write_bytes(file, out.getvalue())


def read_predictions(file: Path) -> Predictions:
    """Return what a run kept; UserError when the file is damaged."""
    try:
        with np.load(file, allow_pickle=False) as kept:
            return Predictions(int(kept["step"]), *(kept[name] for name in ("example", "target", "predicted")))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        remedy = "remove the run's folder, and the run is done again"
        raise UserError(f"{file} cannot be read ({error}); {remedy}") from None
