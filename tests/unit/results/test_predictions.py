"""What validation examples were taken for, put together from all workers' rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from horovod_runner.errors import UserError
from horovod_runner.results.predictions import read_predictions, write_predictions


def test_every_example_once_whichever_worker_had_it(tmp_path: Path) -> None:
    """Seven examples on three workers in batches of two, of which example 4 could not be read."""
    targets = np.array([[10, 13, 16, -1], [11, -1, -1, -1], [12, 15, -1, -1]], np.float64)
    predicted = np.where(targets < 0, -1, targets + 100)
    write_predictions(tmp_path / "predictions.npz", 40, targets, predicted)
    kept = read_predictions(tmp_path / "predictions.npz")
    assert kept.step == 40 and kept.example.tolist() == [0, 1, 2, 3, 5, 6]
    assert kept.target.tolist() == [10, 11, 12, 13, 15, 16]
    assert kept.predicted.tolist() == [110, 111, 112, 113, 115, 116]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "predictions.npz"
    file.write_bytes(b"PK cut short")
    with pytest.raises(UserError, match=r"predictions\.npz cannot be read .*the run is done again"):
        read_predictions(file)
