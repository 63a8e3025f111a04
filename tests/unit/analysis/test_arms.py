"""Compute-only workers and loaders stand beside the runs that they belong to, and shared cores are told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from horovod_runner.analysis.load import tables
from horovod_runner.analysis.load.groups import all_runs, cell_rows, groups
from horovod_runner.analysis.load.runs import Run
from tests.made_results import add_run, add_timed

UNET = {"workload": "unet", "framework": "torch"}


def with_measure(runs: list[Run], measure: str, repeat: int) -> list[Run]:
    """Return runs of which one repeat measures something else."""
    return [
        replace(run, config=run.config.model_copy(update={"measure": measure})) if run.result.repeat == repeat else run
        for run in runs
    ]


def test_compute_only_workers_are_the_ceiling_and_no_group(tmp_path: Path) -> None:
    for workers, seconds, compute_only in ((1, 1.0, None), (2, 1.25, 1.1), (4, 1.6, 1.2)):
        add_timed(tmp_path, UNET | {"workers": workers}, [seconds] * workers)
        if compute_only:
            add_timed(tmp_path, UNET | {"workers": workers, "strategy": "none"}, [compute_only] * workers)
    (group,) = groups(tables.read(tmp_path))
    assert (len(group.cells), len(group.runs), len(group.completed)) == (3, 5, 3)
    assert group.settings["strategy"] == "fused"
    four = group.cell("torch", 4)
    assert four and four.speedup and four.ceiling and four.ceiling.speedup
    assert four.speedup.mean == pytest.approx(4 / 1.6)
    assert four.ceiling.speedup.mean == pytest.approx(4 / 1.2)
    row = cell_rows([group])[-1]
    assert row["ceiling_speedup"] == pytest.approx(4 / 1.2)
    assert row["ceiling_images_per_second"] == pytest.approx(32 / 1.2)


def test_one_compute_only_worker_is_the_baseline_where_there_is_no_other(tmp_path: Path) -> None:
    add_timed(tmp_path, UNET | {"strategy": "none"}, [1.0])
    add_timed(tmp_path, UNET | {"workers": 2}, [1.25, 1.25])
    (group,) = groups(tables.read(tmp_path))
    assert [cell.workers for cell in group.cells] == [1, 2]
    assert group.cells[1].baseline_workers == 1 and group.settings["strategy"] == "fused"
    add_timed(tmp_path, UNET, [1.1])
    (group,) = groups(tables.read(tmp_path))
    one, two = group.cells
    assert one.ceiling and one.ceiling.images_per_second and one.images_per_second and two.speedup
    assert one.images_per_second.mean == pytest.approx(8 / 1.1)
    assert two.speedup.mean == pytest.approx(2 * 1.1 / 1.25)


def test_compute_only_workers_alone_stay_a_group(tmp_path: Path) -> None:
    for workers in (1, 2):
        add_timed(tmp_path, UNET | {"workers": workers, "strategy": "none"}, [1.0] * workers)
    (group,) = groups(tables.read(tmp_path))
    assert [(cell.workers, cell.ceiling) for cell in group.cells] == [(1, None), (2, None)]
    assert group.settings["strategy"] == "none"


def test_ways_of_reducing_share_their_compute_only_workers(tmp_path: Path) -> None:
    for fusion in (0, 64):
        add_timed(tmp_path, UNET | {"workers": 2, "allreduce": {"fusion_mb": fusion}}, [1.2, 1.2])
    add_timed(tmp_path, UNET | {"workers": 2, "strategy": "none"}, [1.0, 1.0])
    made = groups(tables.read(tmp_path))
    assert [group.distinct for group in made] == [{"allreduce.fusion_mb": 0.0}, {"allreduce.fusion_mb": 64.0}]
    assert all(group.cells[0].ceiling and len(group.runs) == 2 for group in made)
    assert len(all_runs(made)) == 3


def test_compute_only_workers_with_other_settings_are_another_group(tmp_path: Path) -> None:
    add_timed(tmp_path, UNET | {"workers": 2, "width": 8}, [1.2, 1.2])
    add_timed(tmp_path, UNET | {"workers": 2, "width": 4, "strategy": "none"}, [1.0, 1.0])
    assert [group.cells[0].ceiling for group in groups(tables.read(tmp_path))] == [None, None]


def test_compute_only_workers_of_a_number_that_is_not_yet_measured_are_kept(tmp_path: Path) -> None:
    """A report may be made in the middle of a study."""
    add_timed(tmp_path, UNET, [1.0])
    add_timed(tmp_path, UNET | {"workers": 2, "strategy": "none"}, [1.0, 1.0])
    (group,) = groups(tables.read(tmp_path))
    assert (len(group.cells), len(group.runs), len(group.completed)) == (1, 2, 1)


def test_loaders_stand_beside_the_runs_that_they_feed(tmp_path: Path) -> None:
    for repeat in (0, 1):
        add_timed(tmp_path, UNET | {"workers": 2, "repeat": repeat}, [1.0, 1.0])
    (group,) = groups(with_measure(tables.read(tmp_path), "loading", 1))
    (cell,) = group.cells
    assert cell.loading and len(cell.runs) == len(cell.loading.runs) == 1
    assert cell_rows([group])[0]["loading_images_per_second"] == pytest.approx(16)
    assert len(groups(with_measure(tables.read(tmp_path), "training", 1))[0].cells[0].runs) == 2


def test_the_baseline_is_the_smallest_number_that_was_measured(tmp_path: Path) -> None:
    for workers, seconds in ((2, 1.0), (4, 1.0), (8, 1.25)):
        add_timed(tmp_path, UNET | {"workers": workers}, [seconds] * workers)
    (group,) = groups(tables.read(tmp_path))
    eight = group.cells[-1]
    assert eight.baseline_workers == 2 and eight.speedup and eight.efficiency
    assert (eight.speedup.mean, eight.efficiency.mean) == (pytest.approx(8 / 1.25), pytest.approx(1 / 1.25))
    assert group.cells[0].speedup is None and cell_rows([group])[0]["baseline_workers"] == 2


@pytest.mark.parametrize(
    ("workers", "threads", "hosts", "shared"),
    [(2, 1, 1, False), (2, None, 1, False), (4, 1, 1, True), (2, 2, 1, True), (4, 1, 2, False), (5, 1, 2, True)],
)
def test_more_threads_than_cores_are_marked(
    workers: int, threads: int | None, hosts: int, shared: bool, tmp_path: Path
) -> None:
    folder = add_run(tmp_path, UNET | {"workers": workers}, threads=threads)
    provenance = json.loads(folder.provenance_file.read_text())
    folder.provenance_file.write_text(json.dumps(provenance | {"launcher": {"hosts": hosts}}))
    (group,) = groups(tables.read(tmp_path))
    assert group.cells[0].oversubscribed is shared
    folder.provenance_file.unlink()
    assert groups(tables.read(tmp_path))[0].cells[0].oversubscribed is False
