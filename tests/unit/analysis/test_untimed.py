"""Studies whose runs were done several at once: losses as ever, no speeds, and nothing that stumbles over that."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from horovod_runner.analysis.load import tables
from horovod_runner.analysis.load.groups import groups
from horovod_runner.analysis.load.pack import pack, read_packed
from horovod_runner.analysis.load.tables import read
from horovod_runner.analysis.report.terminal import show
from horovod_runner.analysis.report.write import write_report
from horovod_runner.cli import main
from tests.made_results import add_run

NOT_MEASURED: dict[str, Any] = {
    "images_per_second": None,
    "step_seconds": None,
    "slowest_worker": None,
    "peak_memory_bytes": None,
    "data_wait_fraction": None,
    "worker_seconds": (),
    "timed_steps": 0,
    "discarded_steps": 60,
    "at_once": 2,
}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Both frameworks, three seeds, two warmups; nothing timed."""
    for framework in ("torch", "tensorflow"):
        for seed in range(3):
            for epochs in (0, 2):
                raw = {"workload": "resnet50", "framework": framework, "seed": seed, "experiment": "study"}
                add_run(tmp_path, {**raw, "schedule": {"warmup_epochs": epochs}}, **NOT_MEASURED)
    return tmp_path / "study"


def test_tables_say_that_nothing_was_timed(study: Path) -> None:
    for width in (80, 160):
        text = io.StringIO()
        show(groups(read(study)), Console(file=text, width=width))
        assert text.getvalue().count("not timed") == 4 and "nan" not in text.getvalue()
        assert "Not timed: runs that were done several at once" in " ".join(text.getvalue().split())
    assert tables.cells(study)["images_per_second"].isna().all()
    assert tables.cells(study)["final_val_metric"].notna().all() and not list(tables.clocks(read(study)))


def test_the_page_says_so_and_draws_the_losses(study: Path) -> None:
    text = write_report(study).read_text()
    assert text.count("<td>not timed</td>") == 4 and "Not timed: runs" in text
    assert "Training loss" in text and ">nan<" not in text
    assert list(study.glob("figures/*.svg"))


def test_packed_they_are_the_same(study: Path) -> None:
    write_report(study)
    before = [run.result for run in read(study)]
    pack(study)
    assert sorted((run.result for run in read_packed(study)), key=str) == sorted(before, key=str)


def test_compare_compares_what_there_is(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(study), str(study)]) == 0
    out = capsys.readouterr().out
    assert "val loss" in out and "top1" in out and "images/s" not in out and "nan" not in out.split()
