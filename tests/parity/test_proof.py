"""The proof as the verb makes it, narrowed to what takes a minute; the rest of it is an experiment of its own."""

from __future__ import annotations

import io
import json
import math
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.text import Text

from horovod_runner.analysis.report.write import write_report
from horovod_runner.errors import UserError
from horovod_runner.parity import compare, functions, precise, precision, second_hand, shared
from horovod_runner.parity.rows import Row, Table, find_table, read_table, relative, worst
from horovod_runner.parity.settings import OPTIMIZERS, WORKLOADS
from horovod_runner.parity.tasks import Found, ProofTask
from horovod_runner.verbs import parity as verb
from horovod_runner.verbs.parity import prove


def red(rows: list[Row]) -> list[Row]:
    return [row for row in rows if not row.passed]


@pytest.mark.parametrize("workload", WORKLOADS)
def test_parameters(workload: str) -> None:
    assert red(compare.same_parameters(workload)) == []


@pytest.mark.parametrize("workload", WORKLOADS)
def test_function_in_every_precision(workload: str) -> None:
    rows = functions.in_every_precision(workload)
    assert red(rows) == []
    assert {precision for precision in functions.PRECISIONS if any(precision in row.what for row in rows)} == {
        "float64",
        "float32",
        "bfloat16",
    }


@pytest.mark.parametrize("workload", WORKLOADS)
def test_models_by_a_second_hand(workload: str) -> None:
    assert red(second_hand.second_hand(workload)) == []


def test_what_frameworks_share() -> None:
    assert red(shared.shared()) == []


@pytest.mark.parametrize("workload", ["unet", "resnet50"])
def test_validation_with_a_padded_last_batch(workload: str) -> None:
    assert red(shared.validation(workload)) == []


@pytest.mark.parametrize("workload", ["unet", "resnet50"])
def test_precise_statistics_of_both_frameworks_and_of_numpy(workload: str) -> None:
    rows = precise.on_one_worker(workload)
    assert red(rows) == [] and len(rows) == 6


@pytest.mark.parametrize("workload", WORKLOADS)
def test_first_steps_in_float32(workload: str) -> None:
    assert precision.early(workload).passed


def test_outputs_are_compared_by_what_examples_differ_in() -> None:
    """The same bias on every output hides nothing: over the outputs themselves, 1e-3 in a thousand would look small."""
    outputs = np.array([[1.0, 0.0], [-1.0, 0.5], [0.0, -0.5]])
    assert functions.apart(outputs + 1000, outputs + 1000.001) == pytest.approx(1e-3)
    assert functions.apart(outputs, outputs[:2]) == math.inf
    assert functions.apart(np.zeros((3, 2)), np.zeros((3, 2))) == math.inf
    assert functions.distance({"a": np.array([3.0, 4.0])}, {"a": np.array([3.0, 4.5])}) == pytest.approx(0.1)
    assert functions.distance({"a": outputs}, {"b": outputs}) == math.inf


def _breaks() -> Found:
    print("what a library said before it broke", file=sys.stderr, flush=True)
    raise ValueError("no such kernel")


def _dies() -> Found:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _works() -> Found:
    return [GREEN], {}


def test_what_breaks_is_a_red_row_and_hides_no_other() -> None:
    todo = [ProofTask("one", _breaks), ProofTask("two", _works), ProofTask("three", _dies), ProofTask("four", _works)]
    found = dict(verb._results(todo))
    assert [[row.passed for row in found[number][0]] for number in range(4)] == [[False], [True], [False], [True]]
    assert "what a library said before it broke" in found[0][0][0].why and "no such kernel" in found[0][0][0].why
    assert found[2][0][0].what == "three: ended with an error" and "killed" in found[2][0][0].why


def test_a_row_is_printed_with_its_bound_and_a_verdict_only_where_it_fails() -> None:
    failed = Row(claim="trajectory", what="unet, sgd: loss [20 steps]", difference=2.1e-2, tolerance=1e-9, why="")
    assert Text.from_markup(verb.line(failed)).plain == "2.1e-02 > 1e-09  FAIL  unet, sgd: loss [20 steps]"
    assert Text.from_markup(verb.line(GREEN)).plain == "1.0e-14 ≤ 1e-12        logits"


@pytest.mark.parametrize(
    ("workload", "optimizer"), [*(("unet", o) for o in OPTIMIZERS), ("resnet50", "sgd"), ("vgg16", "lars")]
)
def test_trajectory(workload: str, optimizer: str) -> None:
    assert red(compare.one_trajectory(workload, optimizer)) == []


def test_trajectory_with_void_pixels() -> None:
    assert red(compare.void_pixels()) == []


def test_a_word_that_is_no_workload_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--workload: there is no 'alexnet'; choose one of resnet50, unet, vgg16"):
        prove("alexnet", None, tmp_path, Console(file=io.StringIO()))


def _table(*rows: Row) -> Table:
    drift = {"step": [1, 10], "between": [1e-7, 1e-5], "torch itself": [1e-8, 1e-5], "tensorflow itself": [2e-8, 2e-5]}
    curves = {"drift unet": drift, "drift resnet50": drift}
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
    with pytest.raises(UserError, match="make it again"):
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
