"""Figures of scaling and of step times show the numbers that they are given, and mark what a reader must know."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from horovod_runner.analysis.plots import look as plots
from horovod_runner.analysis.plots import scaling as scaling_plots
from horovod_runner.analysis.plots import times as time_plots

NO_LAW = pandas.DataFrame(columns=["framework", "law", "workers", "speedup", "low", "high"])


def points(*rows: tuple[str, int, float], shared: int = 0, ceiling: float | None = None) -> pandas.DataFrame:
    """Return points of (framework, workers, speedup) with intervals of +-0.1; `shared`: workers that share cores."""
    table = pandas.DataFrame(rows, columns=["framework", "workers", "speedup"])
    table = table.assign(efficiency=table["speedup"] / table["workers"], baseline_workers=table["workers"].min())
    for name in ("speedup", "efficiency"):
        table[f"{name}_ci95_low"], table[f"{name}_ci95_high"] = table[name] - 0.1, table[name] + 0.1
    return table.assign(oversubscribed=table["workers"] == shared, ceiling=ceiling)


def knees(framework: str = "torch", **columns: Any) -> pandas.DataFrame:
    """Return one framework's knee."""
    row = {"framework": framework, "measured": None, "predicted": None, "low": None, "high": None} | columns
    return pandas.DataFrame([row])


@pytest.fixture
def axes() -> Axes:
    """One panel."""
    _, (panel,) = plots.sheet(1, 1)
    return panel


def lines(axes: Axes, **looks: Any) -> list[list[tuple[float, float]]]:
    """Return the points of the lines within the panel that look so."""
    return [
        list(zip(map(float, line.get_xdata()), map(float, line.get_ydata()), strict=True))
        for line in axes.get_lines()
        if line.get_transform() != axes.transAxes and len(line.get_xdata())
        if all(getattr(line, f"get_{name}")() == value for name, value in looks.items())
    ]


def texts(axes: Axes) -> set[str]:
    """Return what is written in and beside a panel."""
    return {text.get_text() for text in axes.texts}


def test_points_that_share_cores_are_hollow_and_said_to_be(axes: Axes) -> None:
    table = points(("torch", 1, 1.0), ("torch", 2, 1.9), ("torch", 4, 2.5), shared=4)
    scaling_plots.speedup(table, NO_LAW, knees(), axes)
    assert lines(axes, markersize=5.0, markerfacecolor="white") == [[(4, 2.5)]]
    assert lines(axes, markersize=5.0, markerfacecolor=plots.colour("torch")) == [[(1, 1.0), (2, 1.9)]]
    assert "hollow: workers share cores" in texts(axes)


def test_speedup_has_its_ideal_its_ceiling_its_law_and_a_ring_at_the_knee(axes: Axes) -> None:
    table = points(("torch", 2, 2.0), ("torch", 4, 3.5), ("torch", 8, 5.0), ceiling=6.0)
    law = pandas.DataFrame({"workers": [2.0, 8.0], "speedup": [2.0, 5.5], "low": [2.0, 5.0], "high": [2.0, 6.0]})
    scaling_plots.speedup(table, law.assign(framework="torch", law="USL"), knees(measured=4), axes)
    (ideal,) = lines(axes, color=plots.FAINT, linestyle=":")
    assert all(height == pytest.approx(count) for count, height in ideal)
    assert lines(axes, markersize=11.0) == [[(4, 3.5)]]
    assert [(2.0, 2.0), (8.0, 5.5)] in lines(axes)
    assert axes.get_ylabel() == "times its 2 workers"
    assert {"ideal", "PyTorch", "PyTorch, USL", "PyTorch, compute-only", "ring: the measured knee"} <= texts(axes)
    (band, *_) = [np.asarray(shape.get_paths()[0].vertices) for shape in axes.collections if shape.get_alpha() == 0.15]
    assert band[:, 1].max() == 6.0


def test_two_frameworks_stand_beside_each_other_and_bars_are_intervals(axes: Axes) -> None:
    table = points(("torch", 1, 1.0), ("tensorflow", 1, 1.0), ("torch", 2, 1.8), ("tensorflow", 2, 1.8))
    scaling_plots.efficiency(table, knees(), 0.8, axes)
    left, right = (lines(axes, markersize=5.0, color=plots.colour(name))[0][1] for name in ("tensorflow", "torch"))
    assert left[0] < 2 < right[0] and left[1] == right[1] == pytest.approx(0.9)
    bars = [segment for shape in axes.collections for segment in shape.get_segments()]
    assert sorted({round(float(height), 6) for bar in bars for height in bar[:, 1]}) == [0.8, 0.9, 1.0, 1.1]


@pytest.mark.parametrize(("predicted", "drawn"), [(3.0, True), (9.0, False)])
def test_a_predicted_knee_is_drawn_where_it_lies_within_the_figure(axes: Axes, predicted: float, drawn: bool) -> None:
    table = points(("torch", 1, 1.0), ("torch", 4, 3.0))
    scaling_plots.efficiency(table, knees(predicted=predicted, low=2.5, high=np.inf), 0.8, axes)
    diamonds = lines(axes, marker="D")
    assert diamonds == ([[(predicted, 0.8)]] if drawn else [])
    assert ([(2.5, 0.8), (4.0, 0.8)] in lines(axes)) == drawn


def test_the_parts_of_a_step_are_stacked_and_negative_ones_hang_down(axes: Axes) -> None:
    seconds = {
        "computing": [0.1, 0.1],
        "input": [0.01, 0.0],
        "imbalance": [0.0, 0.005],
        "communication": [-0.002, 0.02],
    }
    table = pandas.DataFrame({"framework": "torch", "workers": [1, 2], **seconds})
    time_plots.parts(table, axes)
    bars = {(round(bar.get_x() + bar.get_width() / 2), to_hex(bar.get_facecolor())): bar for bar in axes.patches}
    reach = {key: (bar.get_y(), bar.get_y() + bar.get_height()) for key, bar in bars.items()}
    shade = {part: to_hex(colour) for part, (_, colour) in time_plots.PARTS.items()}
    assert reach[1, shade["communication"]] == pytest.approx((105, 125))
    assert reach[0, shade["input"]] == pytest.approx((100, 110))
    assert reach[0, shade["communication"]] == pytest.approx((0, -2))
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2"]


def test_step_times_show_the_median_and_how_they_scatter(axes: Axes) -> None:
    generator = np.random.default_rng(0)
    clocks = {("torch", n): 0.1 * n + 0.001 * generator.normal(size=5000) for n in (1, 2)}
    clocks["tensorflow", 2] = np.full(10, 0.3)
    time_plots.step_times(clocks, axes)
    (of_one, of_two) = sorted(line[0][1] for line in lines(axes, marker="o"))
    assert of_one == pytest.approx(1000 * np.median(clocks["torch", 1]))
    assert of_two == pytest.approx(1000 * np.median(clocks["torch", 2]))
    assert lines(axes, marker="s")[0][0][1] == pytest.approx(300)
    shapes = [np.asarray(shape.get_paths()[0].vertices)[:, 1] for shape in axes.collections]
    assert len(shapes) == 2
    assert shapes[0].min() == pytest.approx(1000 * np.quantile(clocks["torch", 1], 0.01))


def test_the_slowest_worker_is_ringed_and_told(axes: Axes) -> None:
    rows = [("torch", False, run, rank, s) for run in "ab" for rank, s in enumerate((0.1, 0.1, 0.12, 0.1))]
    rows += [("torch", True, "c", rank, 0.08) for rank in range(4)]
    time_plots.ranks(pandas.DataFrame(rows, columns=["framework", "compute_only", "run", "rank", "seconds"]), axes)
    rings = [ring[0] for ring in lines(axes, markersize=11.0)]
    assert rings[0] == pytest.approx((2, 120))
    assert {"PyTorch: +20.0 %", "PyTorch, compute-only: +0.0 %", "ring: the slowest"} <= texts(axes)
    assert axes.get_title(loc="left") == "Each of 4 workers"
