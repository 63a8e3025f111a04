"""Every strategy, with real ranks: the same arithmetic, or the other one that it promises.

With two workers a sum has one order, and a half is exact: all that may differ is how a kernel rounds the ends of an
array, which a shard has elsewhere. With three, sums of different pieces are rounded differently.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from horovod_runner.parity.launches import start
from horovod_runner.parity.rows import relative
from horovod_runner.parity.settings import plain
from horovod_runner.parity.sides import Trajectory

pytestmark = pytest.mark.usefixtures("real_ranks")

FRAMEWORKS = ["torch", "tensorflow"]
EQUAL = 1e-13
SAME = 1e-9  # after steps that multiply the rounding of another order of summing
ADAM = {"name": "adam", "learning_rate": 0.001, "epsilon": 1e-3, "weight_decay": 1e-4}
SGD = {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9}


def job(framework: str, strategy: str = "fused", *, steps: int = 4, **changes: Any) -> dict[str, Any]:
    """Return a U-Net in float64 that saves its last state."""
    saved = {"every": 2, "keep": 9}
    settings = {"global_batch": 12, "steps": steps, "optimizer": ADAM, "checkpoint": saved, **changes}
    return plain("unet", framework=framework, strategy=strategy, **settings)


def difference(first: Trajectory, second: Trajectory) -> float:
    """Return the largest relative difference of losses and of arrays that both have."""
    losses = relative(np.array(first.losses), np.array(second.losses))
    common = first.state.keys() & second.state.keys()
    return max(losses, *(relative(first.state[name], second.state[name]) for name in common))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_all_strategies_are_one_trajectory(framework: str, tmp_path: Path) -> None:
    """With synchronised layers, which meet amid a step by the transport of the gradients."""

    def run(strategy: str) -> dict[str, Any]:
        return job(framework, strategy, batch_norm="synchronised")

    strategies = ["fused", "grouped", "multistep"]
    runs = {
        **dict(zip(strategies, start(tmp_path / "mpi", [run(s) for s in strategies]), strict=True)),
        "unfused": start(tmp_path, [run("unfused")], controller="gloo")[0],
        "blocking": start(tmp_path, [run("blocking")])[0],
    }
    for strategy, run in runs.items():
        assert run.fingerprints == runs["fused"].fingerprints and run.state.keys() == runs["fused"].state.keys()
        assert difference(runs["fused"], run) < EQUAL, strategy


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_three_workers(framework: str, tmp_path: Path) -> None:
    """Shards are not equally large; each worker accumulates two micro-batches; nothing is a power of two."""
    runs = start(
        tmp_path, [job(framework, s, accumulate=2) for s in ("fused", "multistep")], workers=3, controller="gloo"
    )
    assert 0 < difference(*runs) < SAME


class TestLag:
    def test_gradients_are_applied_a_step_later(self, tmp_path: Path) -> None:
        """Plain gradient descent: two steps of a lagged run leave the weights that one of the others leaves."""
        still = {"name": "sgd", "learning_rate": 0.05, "momentum": 0.0}
        runs = [job(f, "lag1", steps=2, optimizer=still) for f in FRAMEWORKS]
        lagged = [start(tmp_path, [run])[0] for run in runs]
        (prompt,) = start(tmp_path, [job("torch", steps=1, optimizer=still, checkpoint={"every": 1})])
        for run in lagged:
            pending = [name for name in run.state if name.startswith("pending/")]
            weights = [name.removeprefix("pending/") for name in pending]
            assert weights and run.losses[0] == pytest.approx(prompt.losses[0], rel=1e-12)
            assert max(relative(prompt.state[name], run.state[name]) for name in weights) < 1e-12
        assert difference(*lagged) < SAME

    @pytest.mark.parametrize("framework", FRAMEWORKS)
    def test_a_resumed_run_ends_as_one_that_never_stopped(self, framework: str, tmp_path: Path) -> None:
        """What travels when the state is saved is part of it."""
        whole = job(framework, "lag1", optimizer=SGD)
        (straight,) = start(tmp_path / "straight", [whole])
        saved = next((tmp_path / "straight").rglob("step-00000002.safetensors"))
        on = {**whole, "checkpoint": {"every": 2, "keep": 9, "resume_from": str(saved)}}
        (resumed,) = start(tmp_path / "resumed", [on])
        assert resumed.losses == straight.losses[2:]
        assert difference(straight, Trajectory(straight.losses, straight.fingerprints, resumed.state)) == 0


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_travels_and_what_becomes_of_it(framework: str, tmp_path: Path) -> None:
    """Sixteen bits lose what they must lose and no more; a sum at half the rate is the mean; Adasum is its formula."""

    def run(strategy: str = "fused", rate: float = 0.05, **how: Any) -> dict[str, Any]:
        once = {"steps": 1, "optimizer": {**SGD, "learning_rate": rate, "momentum": 0.0}, "checkpoint": {"every": 1}}
        return job(framework, strategy, allreduce=how, **once)

    kinds = [
        run(),
        run(compression="fp16"),
        run("grouped", compression="fp16"),
        run(compression="bf16"),
        run("grouped", compression="bf16"),
        run(rate=0.025, operation="sum"),
        run("multistep", rate=0.025, operation="sum"),
        run(operation="adasum"),
    ]
    exact, half, half_group, bfloat, bfloat_group, summed, summed_shards, adasum = start(tmp_path, kinds)
    (alone,) = start(tmp_path, [run("none")])
    assert difference(half, half_group) == difference(bfloat, bfloat_group) == 0
    assert difference(summed, summed_shards) == 0
    assert all(relative(exact.state[name], summed.state[name]) == 0 for name in exact.state if "/" not in name)
    for run_, digits in ((half, 2.0**-11), (bfloat, 2.0**-8)):
        lost = max(relative(exact.state[name], run_.state[name]) for name in _gradients(exact))
        assert digits / 100 < lost < 2 * digits
    for name in _gradients(exact):
        first = alone.state[name]  # rank 0's own
        second = summed.state[name] - first
        assert relative(_adasum(first, second), adasum.state[name]) < SAME, name


def _gradients(run: Trajectory) -> list[str]:
    """Return the names of the velocities, which after one step without momentum are the reduced gradients."""
    return [name for name in run.state if name.startswith("momentum/")]


def _adasum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return two workers' gradients of one tensor combined (Maleki et al. 2021, eq. 4)."""
    product = np.vdot(a, b)
    return (1 - product / (2 * np.vdot(a, a))) * a + (1 - product / (2 * np.vdot(b, b))) * b
