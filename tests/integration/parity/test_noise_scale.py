"""The norms that real workers record are those of virtual ones, by every strategy, and change no bit of training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from horovod_runner.parity.launches import start
from horovod_runner.parity.rows import relative
from horovod_runner.results.record import StepRecord
from horovod_runner.results.store import Store
from tests.parity.test_noise_scale import FRAMEWORKS, SAME, job

pytestmark = pytest.mark.usefixtures("real_ranks")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_real_workers_record_what_virtual_ones_do(framework: str, tmp_path: Path) -> None:
    """By every strategy that can; and training is bit for bit what it is without, in both precisions."""
    saved = {"checkpoint": {"every": 3}, "optimizer": {"name": "sgd", "learning_rate": 0.05}}
    on = [job(framework, strategy=s, **saved) for s in ("fused", "grouped", "multistep")]
    off = {**on[0], "noise_scale": False}
    single = [{**run, "precision": "float32"} for run in (on[0], off)]
    runs = start(tmp_path / "horovod", [*on, off, *single])
    start(tmp_path / "mpi", [{**on[0], "strategy": "blocking"}])
    (virtual,) = start(tmp_path / "virtual", [{**on[0], "virtual_workers": 2}], workers=1)
    for measured, unmeasured in ((runs[0], runs[3]), (runs[4], runs[5])):
        assert measured.losses == unmeasured.losses
        assert all((measured.state[name] == unmeasured.state[name]).all() for name in unmeasured.state)
    assert relative(np.array(virtual.losses), np.array(runs[0].losses)) < SAME
    expected = norms(tmp_path / "virtual")["fused"]
    found = norms(tmp_path / "horovod") | norms(tmp_path / "mpi")
    assert found.keys() == {"fused", "grouped", "multistep", "blocking"}
    for strategy, values in found.items():
        assert values == pytest.approx(expected, rel=SAME), strategy


def norms(results: Path) -> dict[str, np.ndarray]:
    """Return the recorded norms, (steps, 2), of the float64 runs that measured them, by strategy."""
    found = {}
    for folder in Store(results).finished():
        config = folder.read_config()
        if config.noise_scale and config.precision == "float64":
            found[config.strategy] = np.array([_pair(step) for step in folder.read_steps()])
            result = folder.read_result().gradient_noise
            assert result is not None and (result.shard_batch, result.global_batch, result.steps) == (6, 12, 3)
    return found


def _pair(step: StepRecord) -> tuple[float, float]:
    assert step.shard_squared_norm is not None and step.mean_squared_norm is not None
    return step.shard_squared_norm, step.mean_squared_norm
