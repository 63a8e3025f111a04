"""What a study says: the knee where it was put, the cause that was built in, and no more than the runs carry."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from horovod_runner.analysis.load import tables
from horovod_runner.analysis.load.groups import Group, groups
from horovod_runner.analysis.questions.scaling.study import Scaling, study
from horovod_runner.analysis.report import sentences as templates
from horovod_runner.analysis.report import terminal
from horovod_runner.statistics import laws
from horovod_runner.statistics.interval import Interval
from tests.made_results import add_run, add_timed

UNET = {"workload": "unet", "framework": "torch"}
SCATTER = 0.005


def sentences(made: Scaling) -> list[str]:
    """Return what is told of a study."""
    return templates.told("questions/scaling", found=made, short=False)


def said(made: Scaling) -> str:
    """Return what is told of what bounds the workers."""
    return next(sentence for sentence in sentences(made) if "bound" in sentence)


class Made:
    """A study that is made run by run, each a little faster or slower than the next."""

    def __init__(self, root: Path, runs: int = 5, **settings: Any) -> None:
        self.root, self.runs, self.settings = root, runs, UNET | settings
        self.generator = np.random.default_rng(3)

    def add(
        self,
        workers: int,
        seconds: float | Sequence[float],
        compute_only: float | Sequence[float] | None = None,
        wait: float = 0.0,
        cores: int = 64,
        scatter: float = SCATTER,
    ) -> None:
        """Add runs on so many workers, and of as many compute-only ones: seconds of a step, of all workers or of each.

        Runs scatter by chance, but their mean is the one that is given.
        """
        arms = {"fused": seconds} | ({} if compute_only is None else {"none": compute_only})
        for strategy, mean in arms.items():
            noise = self.generator.normal(scale=scatter, size=self.runs)
            for repeat, deviation in enumerate(noise - noise.mean()):
                each = np.broadcast_to(mean, workers) * (1 + deviation)
                raw = self.settings | {"workers": workers, "repeat": repeat, "strategy": strategy}
                add_timed(self.root, raw, each.tolist(), wait, cores)

    def study(self) -> Scaling:
        """Return what the study says."""
        made = study(self.group(), "torch")
        assert made is not None
        return made

    def group(self) -> Group:
        """Return its only group."""
        (group,) = groups(tables.read(self.root))
        return group


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    return Made(tmp_path)


def weak(workers: int, contention: float, coherency: float) -> float:
    """Return the seconds of a step under the USL, one second on one worker, with a fixed batch a worker."""
    return workers / float(laws.speedup("usl", [contention, coherency], [workers])[0])


def test_points_laws_and_knee_of_a_known_law(made: Made) -> None:
    """Efficiency 1 / (1 + 0.03 (n - 1) + 0.002 n (n - 1)) falls to 0.8 at n = 6.93."""
    for workers in (1, 2, 4, 8):
        made.add(workers, weak(workers, 0.03, 0.002))
    told = made.study()
    assert [point.workers for point in told.points] == [1, 2, 4, 8] and told.baseline_workers == 1
    assert told.points[0].efficiency == Interval(1, 1, 1)
    four = told.points[2]
    assert four.efficiency.mean == pytest.approx(1 / weak(4, 0.03, 0.002), rel=0.01)
    assert four.speedup.ci95_low and four.speedup.ci95_high
    assert 0.005 < (four.speedup.ci95_high - four.speedup.ci95_low) / four.speedup.mean < 0.05
    assert told.knee.measured == 4 and told.knee.law == "usl"
    assert told.knee.predicted and told.knee.predicted.ci95_low and told.knee.predicted.ci95_high
    assert told.knee.predicted.ci95_low < 6.93 < told.knee.predicted.ci95_high < 9
    usl = next(fit for fit in told.fits if fit.law == "usl")
    assert set(usl.parameters) == {"contention", "coherency"} and not usl.exact
    middle, low, high = usl.curve([1, 2, 8, 16])
    assert low is not None and high is not None and middle[0] == low[0] == high[0] == 1
    assert (low[1:] < middle[1:]).all() and (middle[1:] < high[1:]).all()
    assert told.repeats_needed is not None and 3 <= told.repeats_needed <= 10


def test_the_knee_needs_confidence_and_all_smaller_numbers(made: Made) -> None:
    """On 4 it may be above 0.8 or not; that 8 are is no knee, while 4 are in doubt."""
    made.add(1, 1.0)
    made.add(2, 1.05)
    made.add(4, 1 / 0.81, scatter=0.05)
    made.add(8, 1.1)
    assert made.study().knee.measured == 2


def test_the_baseline_is_the_knee_where_two_workers_are_below_it(made: Made) -> None:
    made.add(1, 1.0)
    made.add(2, 1.5)
    told = made.study()
    assert told.knee.measured == 1
    assert "efficiency is above 0.8 on up to 1 worker;" in sentences(told)[0]


def test_perfect_scaling_has_no_end(tmp_path: Path) -> None:
    made = Made(tmp_path)
    for workers in (1, 2, 4):
        made.add(workers, 1.0, scatter=0.0)
    told = made.study()
    assert told.knee.measured == 4 and told.knee.predicted is None
    assert "the most that were measured;" in sentences(told)[0]
    assert "does not fall to that below a million workers" in sentences(told)[0]


def test_two_numbers_of_workers_test_no_law(made: Made) -> None:
    """With s = 0.1 efficiency falls to 0.8 at 1 + 0.25 / 0.1 workers; for the USL there are too few points."""
    made.add(1, 1.0)
    made.add(2, 1.1)
    told = made.study()
    assert [(fit.law, fit.exact) for fit in told.fits] == [("amdahl", True), ("gustafson", True)]
    assert told.knee.law == "amdahl" and told.knee.predicted
    assert told.knee.predicted.mean == pytest.approx(3.5, rel=0.1)
    assert "which fits exactly and is not tested" in sentences(told)[0]


def test_below_three_runs_there_are_no_intervals(tmp_path: Path) -> None:
    made = Made(tmp_path, runs=2)
    for workers in (1, 2, 4):
        made.add(workers, weak(workers, 0.05, 0.0), compute_only=1.0)
    told = made.study()
    assert told.points[1].speedup.ci95_low is None and told.knee.measured is None and told.repeats_needed is None
    assert all(interval.ci95_low is None for fit in told.fits for interval in fit.parameters.values())
    assert told.fits[0].curve([2.0])[1] is None and told.parts[4].intervals == {}
    assert "Fewer than three runs of each kind cannot show what bounds" in said(told)
    assert "Fewer than three runs" in sentences(told)[0]


def test_the_steps_of_a_single_run_are_no_interval_of_a_study(tmp_path: Path) -> None:
    """The table shows how exactly each run was measured; the study knows that another run would differ."""
    for workers in (1, 2):
        add_run(tmp_path, UNET | {"workers": workers})
    (group,) = groups(tables.read(tmp_path))
    told = study(group, "torch")
    assert told is not None and group.cells[1].speedup and group.cells[1].speedup.ci95_low
    assert told.points[1].speedup == Interval(pytest.approx(group.cells[1].speedup.mean), None, None)


def test_one_number_of_workers_is_no_study(made: Made) -> None:
    made.add(2, 1.0)
    assert study(made.group(), "torch") is None and study(made.group(), "tensorflow") is None


def test_workers_that_share_cores_are_marked_and_left_out(made: Made) -> None:
    made.add(1, 1.0, cores=2)
    made.add(2, 1.05, cores=2)
    made.add(4, 2.2, compute_only=2.0, cores=2)
    told = made.study()
    assert [point.oversubscribed for point in told.points] == [False, False, True]
    assert told.knee.measured == 2 and not told.sharing_cores and said(told).startswith(("2 ", "What bounds 2 "))
    assert told.fits[0].parameters["serial"].mean == pytest.approx(0.05, abs=0.02)
    assert told.points[2].ceiling and told.points[2].ceiling.mean == pytest.approx(2.0, rel=0.02)
    text = io.StringIO()
    terminal.show([made.group()], Console(file=text, width=132))
    assert " 4* " in text.getvalue() and " 2* " not in text.getvalue()
    assert "2 workers, the most that were measured on cores of their own;" in sentences(told)[0]


def test_where_all_share_cores_the_text_says_so(made: Made) -> None:
    made.add(1, 1.0, cores=1)
    made.add(2, 2.1, cores=1)
    told = made.study()
    assert told.sharing_cores and told.fits
    assert "No number of workers had a core for every thread" in sentences(told)[0]


def test_a_baseline_of_two_workers_is_the_unit(made: Made) -> None:
    """Amdahl with s = 0.1 in units of two workers: 8 of them make 4 / 1.3 units."""
    for workers in (2, 4, 8):
        made.add(workers, 1 + 0.1 * (workers / 2 - 1), scatter=0.0001)
    told = made.study()
    amdahl = told.fits[0]
    assert (told.baseline_workers, amdahl.unit) == (2, 2)
    assert amdahl.parameters["serial"].mean == pytest.approx(0.1, abs=0.001)
    np.testing.assert_allclose(amdahl.curve([2, 8])[0], [2, 8 / 1.3], rtol=1e-3)
    assert told.points[2].speedup.mean == pytest.approx(8 / 1.3, rel=1e-3)
    assert told.knee.predicted and told.knee.predicted.mean == pytest.approx(2 * 3.5, rel=0.01)


CAUSES: Mapping[str, dict[str, Any]] = {
    "bound by communication": {"seconds": 1.4, "compute_only": 1.05},
    "bound by computing: even compute-only workers take longer": {"seconds": 1.43, "compute_only": 1.4},
    "bound by a straggler": {"seconds": 1.42, "compute_only": [1.0, 1.0, 1.0, 1.4]},
    "bound by input": {"seconds": 1.43, "compute_only": 1.4, "wait": 0.4},
    "bound by computing, as it should be": {"seconds": 1.03, "compute_only": 1.01},
}


@pytest.mark.parametrize("cause", CAUSES)
def test_the_verdict_names_the_cause_that_was_built_in(cause: str, made: Made) -> None:
    made.add(1, 1.0)
    made.add(4, **CAUSES[cause])
    assert cause in said(made.study())
    assert said(made.study()).startswith("4 workers are bound")


def test_parts_make_the_step(made: Made) -> None:
    made.add(1, 1.0, wait=0.1)
    made.add(4, 1.5, compute_only=[1.0, 1.0, 1.0, 1.2], wait=0.1)
    parts = made.study().parts
    four = parts[4]
    assert four.computing is not None and four.imbalance is not None and four.communication is not None
    assert four.input + four.computing + four.imbalance + four.communication == pytest.approx(four.step)
    assert [four.input, four.computing, four.imbalance, four.communication] == pytest.approx(
        [0.1, 0.95, 0.15, 0.3], abs=0.02
    )
    for name, interval in four.intervals.items():
        assert interval.ci95_low is not None and interval.ci95_high is not None
        assert interval.ci95_low <= getattr(four, name) <= interval.ci95_high
    assert (parts[1].imbalance, parts[1].communication) == (0, 0)
    assert parts[1].computing == pytest.approx(0.9, abs=0.02)


def test_without_compute_only_workers_only_input_is_known(made: Made) -> None:
    made.add(1, 1.0)
    made.add(4, 1.5, wait=0.1)
    told = made.study()
    four = told.parts[4]
    assert four.input == pytest.approx(0.1, rel=0.01) and set(four.intervals) == {"input"}
    assert (four.computing, four.imbalance, four.communication) == (None, None, None)
    assert said(told).startswith("What bounds 4 workers is not known: 26")
    assert "runs of compute-only workers (strategy: none) would show" in said(told)
    assert told.points[1].ceiling is None


def test_much_waiting_is_told_without_compute_only_workers(made: Made) -> None:
    made.add(1, 1.0)
    made.add(4, 1.6, wait=0.5)
    assert "4 workers are bound by input" in said(made.study())


def test_overlapping_causes_are_left_open(made: Made) -> None:
    """Communication and computing lose as much as each other, with more scatter than there is between them."""
    made.add(1, 1.0)
    made.add(4, 1.4, compute_only=1.2, scatter=0.03)
    verdict = said(made.study())
    assert verdict.startswith("What bounds 4 workers is not certain: they are bound by")
    assert "by communication:" in verdict and "by computing:" in verdict and " or by " in verdict


def test_communication_below_nothing_is_kept_and_called_noise(made: Made) -> None:
    made.add(1, 1.0)
    made.add(2, 1.0, compute_only=1.01)
    told = made.study()
    assert told.parts[2].communication is not None and told.parts[2].communication < 0
    assert "(below zero: noise)" in " ".join(sentences(told))


def test_strong_scaling_expects_less_computing_of_a_smaller_batch(tmp_path: Path) -> None:
    """Four workers with a quarter of the images each: a quarter of the seconds is perfect, half of it is not."""
    made = Made(tmp_path, scaling="strong", global_batch=32)
    made.add(1, 1.0)
    made.add(2, 0.52, compute_only=0.51)
    assert "bound by computing, as it should be" in said(made.study())
    made.add(4, 0.52, compute_only=0.5)
    told = made.study()
    assert "4 workers are bound by computing: even compute-only workers take longer" in said(told)
    assert told.points[2].efficiency.mean == pytest.approx(0.48, abs=0.01)


def test_results_of_before_workers_were_recorded_have_no_ceiling_parts(made: Made) -> None:
    made.add(1, 1.0)
    made.add(2, 1.3, compute_only=1.1)
    runs = [replace(run, result=run.result.model_copy(update={"worker_seconds": ()})) for run in tables.read(made.root)]
    (group,) = groups(runs)
    told = study(group, "torch")
    assert told is not None and told.parts[2].communication is None
    assert told.points[1].ceiling is not None


def test_the_same_runs_say_the_same(made: Made) -> None:
    for workers in (1, 2, 4):
        made.add(workers, weak(workers, 0.05, 0.001), compute_only=1.02)
    assert made.study() == made.study()


def test_the_report_says_it(made: Made) -> None:
    made.add(1, 1.0)
    made.add(4, 1.5, compute_only=1.02)
    group = made.group()
    text = io.StringIO()
    terminal.show([group], Console(file=text, width=100))
    shown = " ".join(text.getvalue().split())
    assert "4 workers are bound by communication" in shown and "baseline" in shown
    told = " ".join(sentences(made.study()))
    assert "With 95 % confidence, weak-scaling efficiency is above 0.8 on up to 1 worker" in told
    assert "4 workers are bound by communication: 3" in told


def test_the_table_has_a_row_a_number_of_workers(made: Made) -> None:
    made.add(1, 1.0)
    made.add(2, 1.3, compute_only=1.1)
    made.add(4, 1.6)
    table = tables.scaling(made.root).set_index("workers")
    assert list(table.index) == [1, 2, 4]
    assert set(table["verdict"]) == {"not divided"} and set(table["bound_by"]) == {"rest"}
    two = table.loc[2]
    assert two["ceiling_speedup"] == pytest.approx(2 / 1.1, rel=0.02)
    assert two["communication_seconds"] == pytest.approx(0.2, abs=0.03)
    assert two["communication_seconds_ci95_low"] < 0.2 < two["communication_seconds_ci95_high"]
    assert np.isnan(table.loc[4]["communication_seconds"])
    assert table["baseline_workers"].eq(1).all() and "knee" in table
