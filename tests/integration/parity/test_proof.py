"""The rows of the proof that take real ranks, narrowed to two workers."""

from __future__ import annotations

from pathlib import Path

import pytest

from horovod_runner.parity import ranks
from tests.parity.test_proof import red


@pytest.mark.usefixtures("real_ranks")
@pytest.mark.parametrize("framework", ["tensorflow", "torch"])
def test_two_workers_virtual_workers_and_crossing_over(framework: str, tmp_path: Path) -> None:
    rows = ranks.by_workers(framework, tmp_path, counts=(2,))
    assert red(rows) == []
    assert {row.claim for row in rows} == {"workers", "virtual workers", "crossing over", "data"}
