"""A study's page opens with what was asked, the answers in a sentence each, how sure they are, and one figure."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from horovod_runner.analysis.load import tables
from horovod_runner.analysis.load.groups import all_runs, groups
from horovod_runner.analysis.report.answers import answers
from horovod_runner.analysis.report.head import Head
from horovod_runner.analysis.report.terminal import show_head
from horovod_runner.analysis.report.write import write_report
from tests.made_results import add_run

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def head() -> Head:
    """The head of a committed study: thirteen arms, both frameworks, five seeds."""
    members = groups(tables.read(ROOT / "results" / "gap"))
    return Head("gap", members, answers(all_runs(members)))


def test_a_study_says_what_it_asked_and_each_answer_in_a_sentence_or_two(head: Head) -> None:
    description = json.loads((ROOT / "results" / "gap" / "experiment.json").read_text())["description"]
    assert head.asked and head.asked[-1] in "?." and " ".join(description.split()).startswith(head.asked)
    told = {answer.finding.question: answer.short for answer in head.answers}
    assert told["ablation"].startswith("Better than large batch: four times the epochs, square root, ghost BN +0.043 [")
    assert "no difference from large batch is shown" in told["ablation"]
    assert told["frameworks"].startswith("TensorFlow less PyTorch, final top1: -0.042 [-0.088, +0.003]")
    assert all(len(short) < 500 and short.endswith(".") for short in told.values())


def test_the_figure_is_that_of_the_question(head: Head) -> None:
    assert head.leading is not None and head.leading.finding.question == "ablation"


def test_one_line_says_how_sure_it_is_and_what_it_was_made_on(head: Head) -> None:
    shown = io.StringIO()
    show_head(head, Console(file=shown, width=400))
    last = shown.getvalue().strip().splitlines()[-1]
    assert re.match(r"130 runs from 5 seeds; 2026-\d\d-\d\d.*; AMD EPYC, 2 cores, .*; tensorflow 2\.", last)


def test_the_page_opens_with_it_and_folds_the_rest(tmp_path: Path) -> None:
    for framework in ("tensorflow", "torch"):
        for workers in (1, 2):
            add_run(tmp_path, {"framework": framework, "workload": "unet", "workers": workers, "epochs": 5})
    manifest = {"description": "Do they learn alike? Expect so.\n"}
    (tmp_path / "bench" / "experiment.json").write_text(json.dumps(manifest))
    page = write_report(tmp_path, console=Console(file=io.StringIO())).read_text()
    places = [
        page.index(text) for text in ("Do they learn alike?", "4 runs from 1 seed", "<figure>", "<details>", "<table>")
    ]
    assert places == sorted(places) and "Expect so" not in page
    assert "what another seed or another hour would give is not known" in page
