"""Figures show the numbers that they are given, named and apart."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas
import pytest
from matplotlib.collections import LineCollection

from horovod_runner.analysis.load import tables
from horovod_runner.analysis.plots import look as plots
from horovod_runner.statistics.interval import Interval
from tests.made_results import add_run, make_results


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both jobs, both frameworks, one and two workers."""
    return make_results(tmp_path_factory.mktemp("results"))


def of_unet(table: pandas.DataFrame) -> pandas.DataFrame:
    """Return one job's rows."""
    return table[table["workload"] == "unet"]


def drawn(axes: object, points: int) -> list[list[float]]:
    """Return the heights of every line of so many points, apart from the samples beside the names."""
    return [list(line.get_ydata()) for line in axes.get_lines() if len(line.get_xdata()) == points]  # type: ignore[attr-defined]


def test_the_difference_is_tensorflow_less_torch_of_equal_runs(root: Path) -> None:
    table = of_unet(tables.epochs(root))
    one = {name: rows.set_index(["workers", "epoch"])["val_loss"] for name, rows in table.groupby("framework")}
    pairs = plots.pair(table, "val_loss").set_index(["workers", "epoch"])["difference"]
    assert len(pairs) == 6
    for place, value in pairs.items():
        assert value == pytest.approx(one["tensorflow"][place] - one["torch"][place])


def test_curves_are_drawn_and_named_once_each(root: Path) -> None:
    _, (axes,) = plots.sheet(1, 1)
    table = of_unet(tables.epochs(root))
    plots.curves(table, axes, "train_loss")
    expected = [list(rows["train_loss"]) for _, rows in table.groupby(["framework", "workers"])]
    assert drawn(axes, 3) == expected
    assert sorted(text.get_text() for text in axes.texts if text.get_text()) == [
        f"{name}, {workers}" for name in ("PyTorch", "TensorFlow") for workers in ("1 worker", "2 workers")
    ]


def test_seeds_become_their_mean_and_a_band(tmp_path: Path) -> None:
    for seed, loss in enumerate((1.0, 2.0)):
        add_run(
            tmp_path,
            {"workload": "unet", "framework": "torch", "seed": seed},
            train_loss=(loss, loss / 2, loss / 4),
        )
    _, (axes,) = plots.sheet(1, 1)
    plots.curves(tables.epochs(tmp_path), axes, "train_loss")
    assert drawn(axes, 3) == [[1.5, 0.75, 0.375]]
    (band,) = axes.collections
    edge = np.asarray(band.get_paths()[0].vertices)[:, 1]
    assert (edge.min(), edge.max()) == (0.25, 2.0)


def test_the_ideal_is_one_worker_times_their_number(root: Path) -> None:
    table = of_unet(tables.cells(root))
    _, (axes,) = plots.sheet(1, 1)
    plots.throughput(table, axes)
    for _, rows in table.groupby("framework"):
        one = float(rows.loc[rows["workers"] == 1, "images_per_second"].iloc[0])
        assert [one, 2 * one] in drawn(axes, 2)
    assert {"2 × PyTorch's 1 worker", "2 × TensorFlow's 1 worker"} <= {text.get_text() for text in axes.texts}


def test_a_single_run_has_no_error_bar(tmp_path: Path) -> None:
    """An interval from within a run does not say where the next one would be."""
    for repeat, workers in ((0, 1), (0, 2), (1, 2), (2, 2)):
        rate = Interval(90.0 + 20 * repeat, 80.0, 130.0)
        run = {"workload": "unet", "framework": "torch", "workers": workers, "repeat": repeat}
        add_run(tmp_path, run, images_per_second=rate)
    _, (axes,) = plots.sheet(1, 1)
    plots.throughput(tables.cells(tmp_path), axes)
    (bars,) = (found for found in axes.collections if isinstance(found, LineCollection))
    reach = [float(np.ptp(segment[:, 1])) for segment in bars.get_segments()]
    assert reach[0] == 0 and reach[1] > 0


def test_names_do_not_cover_each_other() -> None:
    _, (axes,) = plots.sheet(1, 1)
    axes.set_ylim(0, 1)
    plots.name_ends(
        axes,
        [plots.End(1, height, str(height), plots.INK, "-") for height in (0.5, 0.51, 0.52, 0.99)],
    )
    heights = sorted(text.get_position()[1] for text in axes.texts if text.get_text())
    assert min(upper - lower for lower, upper in pairwise(heights)) >= plots.NAME_GAP - 1e-9
    assert heights[0] >= 0 and heights[-1] <= 1 + 1e-9


def test_missing_validation_is_drawn_as_what_there_is(tmp_path: Path) -> None:
    """Validated every other epoch: the values stand at the epochs that they belong to."""
    raw = {"workload": "unet", "framework": "torch", "epochs": 5, "validate_every": 2}
    add_run(tmp_path, raw, val_loss=(2.0, 4.0, 5.0))
    table = tables.epochs(tmp_path).set_index("epoch")["val_loss"].dropna()
    assert table.to_dict() == {2: 2.0, 4: 4.0, 5: 5.0}


def test_every_step_is_drawn_as_a_running_mean_over_the_epochs_it_took(root: Path) -> None:
    table = tables.steps(root).query("workload == 'unet' and framework == 'torch' and workers == 2")
    _, (axes,) = plots.sheet(1, 1)
    plots.steps(table, axes)
    (line,) = (line for line in axes.get_lines() if len(line.get_xdata()) == len(table))
    losses, window = list(table["train_loss"]), max(1, len(table) // 20)
    expected = [np.mean(losses[max(0, i + 1 - window) : i + 1]) for i in range(len(losses))]
    np.testing.assert_allclose(line.get_ydata(), expected)
    assert line.get_xdata()[-1] == pytest.approx(table["epoch"].max())
