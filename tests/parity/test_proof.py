"""The proof as the verb makes it, narrowed to what takes a minute; the rest of it is an experiment of its own."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from horovod_runner.analysis.report.write import write_report
from horovod_runner.errors import UserError
from horovod_runner.parity import compare
from horovod_runner.parity.rows import Row, Table, find_table, read_table, relative, worst
from horovod_runner.parity.settings import OPTIMIZERS, WORKLOADS
from horovod_runner.verbs.parity import prove
from tests.conftest import program, run


def red(rows: list[Row]) -> list[Row]:
    return [row for row in rows if not row.passed]


@pytest.mark.parametrize("workload", WORKLOADS)
def test_parameters_and_function(workload: str) -> None:
    assert red(compare.one_workload(workload)) == []


@pytest.mark.parametrize(
    ("workload", "optimizer"), [*(("unet", o) for o in OPTIMIZERS), ("resnet50", "sgd"), ("vgg16", "lars")]
)
def test_trajectory(workload: str, optimizer: str) -> None:
    assert red(compare.one_trajectory(workload, optimizer)) == []


def test_trajectory_with_void_pixels() -> None:
    assert red(compare.void_pixels()) == []


def test_the_verb_prints_a_row_and_exits_by_it(tmp_path: Path) -> None:
    done = run([program("horovod-runner"), "parity", "--workload", "unet", "--optimizer", "sgd"], tmp_path)
    assert done.code == 0, done.err
    assert "unet, sgd: loss of 20 steps" in done.out and "all 3 rows pass" in done.out


def test_a_word_that_is_no_workload_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--workload: there is no 'alexnet'; choose one of resnet50, unet, vgg16"):
        prove("alexnet", None, tmp_path, Console(file=io.StringIO()))


def _table(*rows: Row) -> Table:
    drift = {"step": [1, 10], "between": [1e-7, 1e-5], "torch itself": [1e-8, 1e-5], "tensorflow itself": [2e-8, 2e-5]}
    curves = {"drift unet": drift, "end unet": {"seed": [0, 1], "torch loss": [1, 1.1], "tensorflow loss": [1.01, 1.1]}}
    return Table(
        command="horovod-runner parity", seconds=1, origin={"versions": {"torch": "2"}}, rows=rows, curves=curves
    )


GREEN = Row(claim="function", what="logits", difference=1e-14, tolerance=1e-12, why="rounding", where="step 3")
RED = GREEN.model_copy(update={"difference": 1e-3, "what": "a trap"})


def test_a_row_passes_by_its_difference() -> None:
    assert GREEN.passed and not RED.passed
    assert RED.model_copy(update={"differs": True}).passed
    assert not GREEN.model_copy(update={"difference": math.nan}).passed
    assert _table(GREEN).passed and not _table(GREEN, RED).passed and not _table().passed


def test_a_table_is_written_and_read(tmp_path: Path) -> None:
    file = _table(GREEN, RED).write(tmp_path)
    assert [row["passed"] for row in json.loads(file.read_text())["rows"]] == [True, False]
    assert read_table(tmp_path) == _table(GREEN, RED)
    file.write_text("{")
    with pytest.raises(UserError, match="make it anew"):
        read_table(tmp_path)


def test_the_report_shows_the_proof(tmp_path: Path) -> None:
    (tmp_path / "parity").mkdir()
    _table(GREEN, RED).write(tmp_path / "parity")
    page = write_report(find_table(tmp_path)).read_text()
    assert "1 of 2 rows fail" in page and "a trap" in page and page.count("<figure>") == 3
    assert (tmp_path / "parity" / "figures" / "parity.png").stat().st_size > 10_000


def test_differences_are_relative_to_the_largest_value() -> None:
    a = np.array([100.0, 1e-3])
    assert relative(a, a + np.array([0, 1e-3])) == pytest.approx(1e-5)
    assert relative(a, np.array([math.nan, 1])) == math.inf
    assert relative(a, a[:1]) == math.inf
    assert relative(np.zeros(2), np.zeros(2)) == 0
    assert worst({"x": a}, {"y": a}) == (math.inf, "x")
