"""Frameworks over several studies: from simulated studies in which they are equal, part a little, and part too far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions import across
from horovod_runner.analysis.report.answers import answered
from horovod_runner.results.store import MANIFEST, write_json
from tests.simulated import crossed

FRAMEWORKS = {"framework": ["tensorflow", "torch"], "local_batch": [16, 32], "seed": [0, 1, 2, 3, 4]}


def study(folder: Path, gap: float, margins: dict[str, float], stated: str = "2026-01-01T00:00:00+00:00") -> list[Run]:
    """Return a study in which TensorFlow ends `gap` above PyTorch, paired within a thousandth."""
    folder.mkdir()
    write_json(folder / MANIFEST, {"schema": 1, "stated": stated, "margins": margins})
    generator = np.random.default_rng(0)

    def truth(point: dict[str, Any]) -> float:
        return 0.8 + (gap if point["framework"] == "tensorflow" else 0.0) + 0.001 * float(generator.normal())

    runs = crossed({}, FRAMEWORKS, truth)
    return [Run(folder / run.folder.name, run.config, run.result, run.provenance) for run in runs]


def test_each_study_is_held_to_the_margin_that_it_stated(tmp_path: Path) -> None:
    studies = [
        study(tmp_path / "equal", 0.0, {"val_metric": 0.02}),
        study(tmp_path / "small", 0.01, {"val_metric": 0.02}),
        study(tmp_path / "large", 0.05, {"val_metric": 0.02}),
        study(tmp_path / "unstated", 0.05, {}),
    ]
    (answer,) = answered(across, studies)
    rows = {row["study"]: row for row in answer.rows}
    assert {name: row["verdict"] for name, row in rows.items()} == {
        "equal": "equivalent within the margin",
        "small": "equivalent within the margin, and differ",
        "large": "differ",
        "unstated": "differ",
    }
    assert rows["large"]["difference"] == pytest.approx(0.05, abs=2e-3) and rows["unstated"]["equivalence_p"] is None
    assert "Of 3 margins that the studies stated before their first run, 2 hold" in answer.sentences[-1]
    assert answer.draw is not None
    (axes,) = answer.draw().axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [f"{name}: final metric (±0.02)" for name in ("equal", "small", "large")]


def test_a_margin_that_came_late_is_not_said_to_come_first(tmp_path: Path) -> None:
    late = study(tmp_path / "late", 0.0, {"val_metric": 0.02}, "2026-06-01T00:00:00+00:00")
    (answer,) = answered(across, [study(tmp_path / "early", 0.0, {"val_metric": 0.02}), late])
    assert answer.sentences[-1].startswith("Of 2 margins that the studies stated, 2 hold")
    assert answer.sentences[-1].endswith("That 1 of them came before the first run is not on record.")


def test_a_margin_that_cannot_be_tested_is_not_passed_over(tmp_path: Path) -> None:
    margins = {"val_metric": 0.02, "steps_to_target": 5.0}
    (answer,) = answered(across, [study(tmp_path / "one", 0.0, margins), study(tmp_path / "two", 0.0, {})])
    assert (
        "one: the margin of ±5 in steps to target cannot be tested: no setting has it for all seeds."
        in answer.sentences
    )
    assert answer.sentences[-1].startswith("Of 1 margin that the studies stated before their first run, 1 holds")


def test_a_margin_of_a_figure_brings_its_line(tmp_path: Path) -> None:
    studies = [study(tmp_path / "one", 0.0, {"val_metric": 0.02, "val_loss": 0.5}), study(tmp_path / "two", 0.0, {})]
    (answer,) = answered(across, studies)
    assert [row["figure"] for row in answer.rows] == ["final metric", "last validation loss", "final metric"]


def test_one_study_or_one_framework_alone_ask_nothing(tmp_path: Path) -> None:
    one, two = (study(tmp_path / name, 0.0, {}) for name in ("one", "two"))
    assert answered(across, [one]) == []
    assert answered(across, [one, [run for run in two if run.result.framework == "torch"]]) == []
