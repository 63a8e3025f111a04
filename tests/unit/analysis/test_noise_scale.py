"""The gradient noise scale: what the estimator finds, what a run records of it, and which runs are refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from horovod_runner.allreduce.settings import partition
from horovod_runner.analysis.load.pack import pack
from horovod_runner.analysis.load.tables import read, step_table
from horovod_runner.config.schema import decode
from horovod_runner.errors import UserError
from horovod_runner.results.record import StepRecord, step_from_json
from horovod_runner.results.summary import summarise
from horovod_runner.statistics import noise_scale
from horovod_runner.statistics.interval import Interval
from horovod_runner.training.recorder import Recorder, WorkerStep
from horovod_runner.training.timing import StepTimes
from tests.made_results import add_run

SHARDS, SHARD_BATCH = 4, 8
GLOBAL_BATCH = SHARDS * SHARD_BATCH


def norms(steps: int, size: int, deviation: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, float]:
    """Return shards' and averages' squared norms of made gradients, and |G|^2; tr(Sigma) is size * deviation^2."""
    generator = np.random.default_rng(seed)
    true = generator.normal(size=size)
    noise = generator.normal(size=(steps, SHARDS, size)) * deviation / math.sqrt(SHARD_BATCH)
    shards = true + noise
    averages = shards.mean(axis=1)
    return (shards**2).sum(axis=2).mean(axis=1), (averages**2).sum(axis=1), float(true @ true)


class TestEstimates:
    def test_recovers_both_unknowns(self) -> None:
        """Over 4000 steps the standard errors are below 0.1 % of tr(Sigma) and 0.5 % of |G|^2: bounds are six each."""
        small, big, square = norms(4000, size=50, deviation=3.0)
        traces, squares = noise_scale.estimates(small, big, SHARD_BATCH, GLOBAL_BATCH)
        assert traces.mean() == pytest.approx(50 * 9.0, rel=0.01)
        assert squares.mean() == pytest.approx(square, rel=0.03)
        assert noise_scale.simple(traces, squares) == pytest.approx(450 / square, rel=0.03)

    def test_no_noise_has_none(self) -> None:
        small, big, square = norms(3, size=20, deviation=0.0)
        traces, squares = noise_scale.estimates(small, big, SHARD_BATCH, GLOBAL_BATCH)
        assert traces == pytest.approx(0.0, abs=1e-10) and squares == pytest.approx(square)

    def test_averages_are_divided_and_not_divisions_averaged(self) -> None:
        """Steps of 1/1 and 9/3: the ratio of averages is 5/2, the average of ratios 2."""
        assert noise_scale.simple([1.0, 9.0], [1.0, 3.0]) == 2.5

    def test_a_gradient_lost_in_noise_has_no_ratio(self) -> None:
        assert noise_scale.simple([5.0, 5.0], [1.0, -2.0]) is None
        assert noise_scale.over_samples([5.0, 5.0, 5.0], [1.0, -2.0, 0.0]) is None

    def test_equal_batches_are_refused(self) -> None:
        with pytest.raises(ValueError, match="8 is not below 8"):
            noise_scale.estimates([1.0], [1.0], 8, 8)


class TestIntervals:
    def test_covers_the_truth_as_often_as_it_says(self) -> None:
        """Of 600 intervals of 95 %, 95 % +- 0.9 % hold the truth; bounds are about three of these."""
        generator = np.random.default_rng(1)
        held = 0
        for _ in range(600):
            squares = 4 + generator.normal(size=5)
            traces = 12 + 2 * generator.normal(size=5) + (squares - 4)
            interval = noise_scale.over_samples(traces, squares)
            # Without bounds nothing is excluded, and the truth neither.
            held += interval is not None and (
                interval.ci95_low is None or interval.ci95_low <= 3 <= (interval.ci95_high or 0)
            )
        assert 0.92 < held / 600 < 0.98

    def test_equal_samples_have_no_width(self) -> None:
        assert noise_scale.over_samples([6.0] * 4, [2.0] * 4) == Interval(3.0, 3.0, 3.0)

    def test_few_or_indistinct_samples_have_no_bounds(self) -> None:
        assert noise_scale.over_samples([6.0, 6.0], [2.0, 3.0]) == Interval(pytest.approx(2.4), None, None)
        assert noise_scale.over_samples([6.0, 7.0, 8.0], [-5.0, 1.0, 7.0]) == Interval(pytest.approx(7.0), None, None)

    def test_growth_is_a_factor(self) -> None:
        growth = noise_scale.factor([2.0, 8.0, 4.0])
        assert growth is not None and growth.mean == pytest.approx(4.0)
        assert growth.ci95_low is not None and growth.ci95_high is not None
        assert growth.ci95_low * growth.ci95_high == pytest.approx(16.0)


def step(number: int, epoch: int, small: float, big: float) -> StepRecord:
    """Return a recorded step with these squared norms."""
    common = {"learning_rate": 0.1, "train_loss": 1.0, "step_seconds": 0.1, "data_seconds": 0.0}
    figures = {"worker_seconds": (0.1,), "shard_squared_norm": small, "mean_squared_norm": big}
    return StepRecord(step=number, epoch=epoch, **common, **figures)


class TestRecords:
    def test_shards_are_averaged_and_shares_added_up(self) -> None:
        """Two workers: shards' mean squared norms 3 and 5, and shares 0.5 and 2 of the average's."""
        written: list[StepRecord] = []

        def two_workers(own: np.ndarray) -> np.ndarray:
            other = own.copy().reshape(2, -1)
            other[0, -2:] = 5.0, 2.0
            return np.stack([own, other.ravel()])

        recorder = Recorder(two_workers, written.extend, [], record_every=1)
        for number, norms in ((1, (3.0, 0.5)), (2, None)):
            times = StepTimes(step_seconds=0.5, data_seconds=0.1)
            seen = WorkerStep(step=number, epoch=1, learning_rate=0.1, loss=1.0, times=times, squared_norms=norms)
            recorder.add(seen)
        recorder.flush()
        assert [(s.shard_squared_norm, s.mean_squared_norm) for s in written] == [(4.0, 2.5), (None, None)]

    def test_lines_of_before_are_read(self) -> None:
        line = (
            '{"step":1,"epoch":1,"learning_rate":0.1,"train_loss":1,"step_seconds":1,"data_seconds":0,'
            '"worker_seconds":[1]}'
        )
        assert step_from_json(line, "steps.jsonl").mean_squared_norm is None

    def test_a_result_sums_up(self) -> None:
        """Shards of 4 and a batch of 8: tr(Sigma) is 8 (small - big), |G|^2 is 2 big - small."""
        config = decode(run(local_batch=4, virtual_workers=2, accumulate=1), "test")
        steps = [step(1, 1, 3.0, 2.0), step(2, 1, 5.0, 3.0), step(3, 2, 9.0, 5.0)]
        found = summarise(config, "completed", steps=steps).gradient_noise
        assert found is not None and (found.shard_batch, found.global_batch, found.steps) == (4, 8, 3)
        assert (found.trace, found.squared_gradient) == pytest.approx((56 / 3, 1.0))
        assert found.simple is not None and found.simple.mean == pytest.approx(56 / 3)
        assert found.by_epoch == pytest.approx((12.0, 32.0))

    def test_micro_batches_are_shards(self) -> None:
        config = decode(run(local_batch=12, accumulate=3), "test")
        found = summarise(config, "completed", steps=[step(1, 1, 3.0, 2.0)]).gradient_noise
        assert found is not None and found.shard_batch == 4

    def test_a_run_that_did_not_measure_has_none(self) -> None:
        plain = step(1, 1, 1.0, 1.0).model_copy(update={"shard_squared_norm": None, "mean_squared_norm": None})
        assert summarise(decode(run(noise_scale=False), "test"), "completed", steps=[plain]).gradient_noise is None

    def test_packing_keeps_it(self, tmp_path: Path) -> None:
        """Loose and packed, tables hold the same norms; runs without them have empty ones."""
        folder = add_run(tmp_path, run(virtual_workers=2))
        folder.steps_file.unlink()
        folder.append_steps([step(1, 1, 3.0, 2.0), step(2, 1, 5.0, 3.0)])
        add_run(tmp_path, run(noise_scale=False))
        experiment = folder.path.parent
        pack(experiment)
        columns = ["shard_squared_norm", "mean_squared_norm"]
        tables = [step_table(read(tmp_path)), step_table(read_only_packed(experiment))]
        for table in tables:
            measured = table[table["run_id"] == folder.read_config().run_id]
            assert measured[columns].to_numpy().tolist() == [[3.0, 2.0], [5.0, 3.0]]
            assert table[table["run_id"] != folder.read_config().run_id][columns].isna().all(axis=None)


def read_only_packed(experiment: Path) -> list[Any]:
    """Return the packed runs, as a clone has them: without their folders."""
    from horovod_runner.analysis.load.pack import read_packed

    return read_packed(experiment)


def run(**changes: Any) -> dict[str, Any]:
    """Return a run that measures the noise scale."""
    return {"framework": "torch", "workload": "unet", "local_batch": 4, "noise_scale": True, **changes}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "one gradient a step"),
        ({"workers": 2, "strategy": "none"}, "strategy none"),
        ({"workers": 2, "strategy": "lag1"}, "another step's"),
        ({"workers": 2, "allreduce": {"operation": "sum"}}, "sum is not an average"),
        ({"workers": 2, "allreduce": {"operation": "adasum"}}, "adasum is not an average"),
        ({"workers": 2, "batch_norm": "synchronised"}, "independent"),
        ({"workers": 2, "measure": "loading"}, "no gradient"),
    ],
)
def test_what_it_can_mean_nothing_for_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=rf"noise_scale: .*{said}.* remove it"):
        decode(run(**changes), "test")


@pytest.mark.parametrize(
    "changes",
    [
        {"virtual_workers": 2, "strategy": "none"},
        {"accumulate": 2},
        {"workers": 2},
        {"workers": 2, "strategy": "multistep"},
        {"workers": 2, "strategy": "blocking"},
        {"virtual_workers": 2, "batch_norm": "ghost", "ghost_batch": 2},
    ],
)
def test_wherever_there_are_shards_it_can_be_measured(changes: dict[str, Any]) -> None:
    assert decode(run(**changes), "test").noise_scale


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_every_array_is_partitioned_once_and_about_equally(workers: int) -> None:
    sizes = {f"array{i}": (i % 5 + 1) ** 3 for i in range(40)}
    shares = [partition(sizes, rank, workers) for rank in range(workers)]
    assert sorted(name for share in shares for name in share) == sorted(sizes)
    loads = [sum(sizes[name] for name in share) for share in shares]
    assert max(loads) - min(loads) <= max(sizes.values())
