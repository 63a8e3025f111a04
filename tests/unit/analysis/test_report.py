"""The report: what is read first, what is compared with what, what is left out, and that the page stands alone."""

from __future__ import annotations

import html as html_lib
import io
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas
import pytest
from rich.console import Console

from horovod_runner import cli
from horovod_runner.analysis.load import tables
from horovod_runner.analysis.load.groups import Cell, Group, groups
from horovod_runner.analysis.plots import panels
from horovod_runner.analysis.report import figures, page, terminal, text_tables, words
from horovod_runner.analysis.report.write import write_report
from horovod_runner.errors import UserError
from horovod_runner.statistics.interval import Interval
from tests.made_results import add_failure, add_run, add_timed, make_results

TORCH = {"workload": "unet", "framework": "torch", "workers": 2}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight completed runs, one that failed and one that is not finished."""
    root = make_results(tmp_path_factory.mktemp("results"))
    error = f"rank 1 was ended by signal 9: {root}/bench/x/log.txt & <more>"
    add_failure(root, TORCH | {"seed": 9}, "failed", error)
    (add_run(root, TORCH | {"seed": 10}).path / "result.json").unlink()
    return root


@pytest.fixture(scope="module")
def html(results: Path) -> str:
    """Return the page of these results."""
    return write_report(results, console=Console(file=io.StringIO())).read_text()


def cells(root: Path) -> dict[tuple[str, str, int], Cell]:
    """Return the cells of the groups below a folder."""
    return {(g.workload, c.framework, c.workers): c for g in groups(tables.read(root)) for c in g.cells}


def only_group(root: Path, workload: str) -> Group:
    """Return the one group of a job."""
    (group,) = (group for group in groups(tables.read(root)) if group.workload == workload)
    return group


def test_speedup_is_over_the_same_frameworks_one_worker(results: Path) -> None:
    table = cells(results)
    one, two = table["unet", "torch", 1], table["unet", "torch", 2]
    assert one.images_per_second and two.images_per_second and two.speedup and two.efficiency
    assert two.speedup.mean == pytest.approx(two.images_per_second.mean / one.images_per_second.mean)
    assert two.efficiency.mean == pytest.approx(two.speedup.mean / 2)
    assert one.speedup is None


def test_strong_scaling_compares_equal_global_batches(tmp_path: Path) -> None:
    make_results(tmp_path, scaling="strong", global_batch=32)
    add_run(tmp_path, {"workload": "unet", "framework": "torch", "global_batch": 64, "scaling": "strong"})
    fixed = {group.fixed_batch: group for group in groups(tables.read(tmp_path)) if group.workload == "unet"}
    assert sorted(fixed) == [32, 64]
    assert [cell.local_batch for cell in fixed[32].cells if cell.framework == "torch"] == [32, 16]
    assert words.scaling(fixed[32]) == "strong scaling, 32 images over all workers"


def test_other_machines_are_never_averaged(tmp_path: Path) -> None:
    add_run(tmp_path, TORCH)
    add_run(tmp_path, TORCH | {"seed": 1}, machine="other")
    made = groups(tables.read(tmp_path))
    assert [(group.distinct, len(group.runs)) for group in made] == [
        ({"machine": "3f9c2a"}, 1),
        ({"machine": "other"}, 1),
    ]


def test_settings_that_differ_make_groups_and_are_named(tmp_path: Path) -> None:
    for epochs in (5, 10, 0):
        add_run(tmp_path, TORCH | {"schedule": {"warmup_epochs": float(epochs)}})
    made = groups(tables.read(tmp_path))
    assert [group.distinct["schedule.warmup_epochs"] for group in made] == [0.0, 5.0, 10.0]
    assert all(len(group.distinct) == 1 for group in made)


def test_several_runs_make_a_run_the_sample(tmp_path: Path) -> None:
    rates = (90.0, 100.0, 110.0)
    for repeat, rate in enumerate(rates):
        interval = Interval(mean=rate, ci95_low=rate - 0.1, ci95_high=rate + 0.1)
        add_run(tmp_path, TORCH | {"repeat": repeat}, images_per_second=interval)
    (cell,) = cells(tmp_path).values()
    assert cell.images_per_second is not None and cell.images_per_second.ci95_high is not None
    assert cell.images_per_second.mean == pytest.approx(3 / sum(1 / rate for rate in rates))
    assert cell.images_per_second.ci95_high > 115


def test_what_did_not_complete_is_in_no_figure_of_a_cell(results: Path) -> None:
    cell = cells(results)["unet", "torch", 2]
    assert (len(cell.runs), len(cell.completed), cell.status) == (2, 1, "1 completed, 1 failed")


def test_a_copied_study_stays_a_study_of_its_own(tmp_path: Path) -> None:
    add_run(tmp_path, TORCH)
    (tmp_path / "bench").rename(tmp_path / "copy")
    add_run(tmp_path, TORCH)
    assert [group.experiment for group in groups(tables.read(tmp_path))] == ["bench", "copy"]


@pytest.mark.parametrize("width", [80, 132])
def test_the_terminal_shows_every_figure_whole(results: Path, width: int) -> None:
    text = io.StringIO()
    terminal.show(groups(tables.read(results)), Console(file=text, width=width))
    shown = text.getvalue()
    assert max(len(line) for line in shown.splitlines()) <= width
    assert "…" not in shown.replace("…/log.txt", "")
    speed = only_group(results, "unet").cells[0].images_per_second
    for figure in ("tensorflow", "torch", words.bounds(speed), "1 failed", "weak scaling, 8 images a worker"):
        assert figure in shown


def test_a_long_title_is_shown_to_its_end(tmp_path: Path) -> None:
    add_run(tmp_path, TORCH)
    (tmp_path / "bench").rename(tmp_path / ("long-" * 11))
    text = io.StringIO()
    [group] = groups(tables.read(tmp_path))
    terminal.show([group], Console(file=text, width=80))
    assert f"metric: {group.metric}" in " ".join(text.getvalue().split())


def test_the_page_stands_alone(html: str) -> None:
    for outside in ("<script", "<link", "@import", 'src="', "<metadata"):
        assert outside not in html
    targets = re.findall(r'href="([^"]*)"', html) + re.findall(r"url\(([^)]*)\)", html)
    assert targets
    assert all(target.startswith("#") for target in targets)


def test_ids_within_the_page_are_unique_and_all_links_have_one(html: str) -> None:
    ids = re.findall(r' id="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]*)"', html)) <= set(ids)


def test_tags_are_balanced(html: str) -> None:
    """What the template opens, it closes, in order."""
    open_tags: list[str] = []

    class Balance(HTMLParser):
        def handle_starttag(self, tag: str, attributes: object) -> None:
            if tag not in ("meta", "br"):
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    Balance().feed(html)
    assert open_tags == []


def test_the_page_names_failures_escaped_and_without_paths(html: str, results: Path) -> None:
    assert "rank 1 was ended by signal 9: …/log.txt &amp; &lt;more&gt;" in html
    assert "1 run of 9 did not complete" in html
    assert "1 run begun and not finished" in html
    assert str(results) not in html
    assert "/somewhere" not in html
    assert ".venv/bin/horovod-runner bench --framework torch --workload unet --workers 2" in html


def test_the_page_has_both_jobs_all_figures_and_provenance(html: str, results: Path) -> None:
    assert html.count("<figure>") == 20
    for text in ("ResNet-50, weak scaling", "U-Net, weak scaling", "Open MPI 4.1.8", "Some CPU", "0123456789ab"):
        assert text in html
    files = {file.name for file in (results / "bench" / "figures").iterdir()}
    names = [f"{job}{sheet}" for job in ("resnet50-weak16", "unet-weak8") for sheet in ("", "-scaling")]
    assert files == {f"{name}.{kind}" for name in names for kind in ("png", "svg")}


def test_the_same_results_make_the_same_page(tmp_path: Path) -> None:
    add_run(tmp_path, TORCH)
    once, again = (write_report(tmp_path, console=Console(file=io.StringIO())).read_bytes() for _ in range(2))
    assert once == again


def test_findings_claim_a_difference_only_where_intervals_carry_it(tmp_path: Path) -> None:
    for framework, mean in (("tensorflow", 100.0), ("torch", 104.0)):
        wide = Interval(mean=mean, ci95_low=mean - 10, ci95_high=mean + 10)
        add_run(tmp_path, TORCH | {"framework": framework, "workers": 1}, images_per_second=wide)
    told = " ".join(page.findings(only_group(tmp_path, "unet")))
    assert "On 1 worker TensorFlow and PyTorch are indistinguishable in speed: ratio 0.96" in told
    assert "With one seed, nothing tells this from what another seed would change" in told


def test_another_place_for_the_page(tmp_path: Path) -> None:
    add_run(tmp_path / "results", TORCH)
    written = write_report(tmp_path / "results", tmp_path / "mine.html", Console(file=io.StringIO()))
    assert written == tmp_path / "mine.html"
    assert (tmp_path / "figures" / "bench" / "unet-weak8.png").exists()
    assert not list(tmp_path.glob("results/**/*.png"))


def test_report_shows_ones_own_results_and_writes_where_out_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    add_run(tmp_path / "results" / "local", TORCH)
    add_run(tmp_path / "results", TORCH | {"workers": 1})
    assert cli.main(["report", "--out", "elsewhere/page"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "elsewhere/page/report.html"
    assert (tmp_path / "elsewhere/page/figures/bench/unet-weak8.png").exists()
    assert not list(tmp_path.glob("results/**/*.html")) and not list(tmp_path.glob("results/**/*.png"))


def test_a_report_that_cannot_be_written_names_the_option_that_report_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = add_run(tmp_path, TORCH)
    (run.path.parent / "figures").write_text("a file where the folder should be")
    assert cli.main(["report", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert (
        said
        == f"horovod-runner: {run.path.parent / 'figures'}: a file is in its place: choose another folder with --out\n"
    )


def test_a_single_run_and_one_that_failed_at_once(tmp_path: Path) -> None:
    """A page is made of whatever there is."""
    run = add_run(tmp_path, TORCH | {"workers": 1})
    write_report(run.path, console=Console(file=io.StringIO()))
    assert (run.path / "report.html").exists()
    failed = add_failure(tmp_path / "other", TORCH, "timeout", "it took too long")
    shown = write_report(failed.path.parent, console=Console(file=io.StringIO())).read_text()
    assert "<figure>" not in shown
    assert "it took too long" in shown


def test_nothing_to_report_names_folder_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path} holds no finished run; make some with: make bench"):
        write_report(tmp_path)


def test_the_tables_wait_for_no_plotting_library() -> None:
    code = """
import sys
from horovod_runner.analysis.report import write as report
from horovod_runner.analysis.load import tables
from horovod_runner.analysis.report import terminal
heavy = {"pandas", "matplotlib", "scipy", "pyarrow", "torch", "tensorflow", "horovod"}
print(sorted(heavy & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_study_has_figures_of_scaling_and_of_times_and_tables(tmp_path: Path) -> None:
    """Compute-only workers make the ceiling and the parts of a step; each has a sheet of its own, and CSV files."""
    made = {"workload": "unet", "framework": "torch", "experiment": "study"}
    for repeat in range(3):
        for workers, seconds in ((1, 1.0), (2, 1.2), (4, 1.6)):
            fast = 1 + repeat / 100
            add_timed(tmp_path, made | {"workers": workers, "repeat": repeat}, [seconds * fast] * workers)
            compute_only = made | {"workers": workers, "repeat": repeat, "strategy": "none"}
            add_timed(tmp_path, compute_only, [1.02 * fast] * workers)
    shown = write_report(tmp_path, console=Console(file=io.StringIO())).read_text()
    for title in ("Speedup", "Efficiency", "Where a step's time goes", "Step times", "Each of 4 workers"):
        assert f">{title}</text>" in shown
    assert "PyTorch, compute-only" in shown and "4 workers are bound by communication" in shown
    study = tmp_path / "study"
    assert {file.name for file in (study / "figures").glob("*.png")} == {"unet-weak8.png", "unet-weak8-scaling.png"}
    told = html_lib.unescape(re.sub(r"<[^>]*>", "", shown))
    for file in ("study/figures/unet-weak8-scaling.svg", "study/tables/cells.csv", "study/tables/scaling.csv"):
        assert file in told and (tmp_path / file).is_file()
    cells_table = pandas.read_csv(study / "tables" / "cells.csv").set_index("workers")
    assert cells_table["speedup"][4] == pytest.approx(4 / 1.6)
    assert cells_table["ceiling_speedup"][4] == pytest.approx(4 / 1.02)
    assert list(pandas.read_csv(study / "tables" / "scaling.csv")["workers"]) == [1, 2, 4]


def test_a_notebook_gets_the_sheet_of_scaling_as_a_figure(results: Path) -> None:
    figure = figures.scaling_sheet(only_group(results, "unet"))
    titles = ["Speedup", "Efficiency", "Step times", "Each of 2 workers"]
    assert [panel.get_title(loc="left") for panel in figure.axes] == titles


def test_long_runs_are_drawn_from_the_first_of_every_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for repeat in range(3):
        for workers in (1, 2):
            add_run(tmp_path, TORCH | {"workers": workers, "repeat": repeat})
    (group,) = groups(tables.read(tmp_path))
    steps = 60
    for most, drawn in ((6 * steps, 6), (6 * steps - 1, 4), (1, 2)):
        monkeypatch.setattr(panels, "MOST_STEPS_READ", most)
        (told,) = (panel for panel in panels.sheets(group, [])[""] if panel.kind == "step_times")
        assert told.of == {"runs": drawn}


def test_steps_read_as_columns_are_those_of_records(tmp_path: Path) -> None:
    """Missing figures and those that are not finite come back as numbers; a damaged line is named, not passed over."""
    folder = add_run(tmp_path, TORCH)
    last = folder.read_steps()[-1]
    folder.append_steps([last.model_copy(update={"step": 61, "train_loss": math.nan, "val_loss": math.inf})])
    table, recorded = tables.steps(tmp_path), folder.read_steps()
    for name in type(last).model_fields:
        expected = [getattr(step, name) for step in recorded]
        if name in tables.REAL:
            np.testing.assert_array_equal(table[name], np.array(expected, dtype=float))
        else:
            assert list(table[name]) == expected
    ((_, seconds),) = tables.clocks(tables.read(tmp_path))
    assert seconds.tolist() == [list(step.worker_seconds) for step in recorded[5:]]
    with folder.steps_file.open("a") as file:
        file.write('{"step": 62, "epoch": 4}\n')
    with pytest.raises(UserError, match="holds a damaged line"):
        tables.steps(tmp_path)


def test_a_column_that_no_row_fills_is_left_out() -> None:
    rows = [{"seeds": 5, "gain": 1.0, "gain_ci95_low": None, "gain_ci95_high": None, "not_learned": None}] * 2
    assert text_tables.answer_rows(rows) == [{"seeds": "5", "gain": "1 [–]"}] * 2
    assert text_tables.answer_rows([*rows, rows[0] | {"not_learned": 2}])[-1]["not learned"] == "2"
