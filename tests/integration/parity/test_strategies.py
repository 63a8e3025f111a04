"""Every strategy, with real ranks: the same arithmetic, or the other one that it promises.

With two workers a sum has one order, and a half is exact: all that may differ is how a kernel rounds the ends of an
array, which a shard has elsewhere. With three, sums of different pieces are rounded differently.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.architecture import Arrays
from horovod_runner.config.schema import decode
from horovod_runner.parity.launches import recorded, start, started
from horovod_runner.parity.rows import relative
from horovod_runner.parity.settings import plain
from horovod_runner.parity.sides import Trajectory
from horovod_runner.results.checkpoint import Checkpoints
from horovod_runner.results.store import RunFolder, Store
from horovod_runner.training.job import prepare

pytestmark = pytest.mark.usefixtures("real_ranks")

FRAMEWORKS = ["torch", "tensorflow"]
EQUAL = 1e-13
SAME = 1e-9  # after steps that multiply the rounding of another order of summing
ADAM = {"name": "adam", "learning_rate": 0.001, "epsilon": 1e-3, "weight_decay": 1e-4}
SGD = {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9}

Launched = Callable[[str], dict[str, RunFolder]]


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


def once(framework: str, strategy: str = "fused", rate: float = 0.05, **how: Any) -> dict[str, Any]:
    """Return one step of plain gradient descent, with these settings of the allreduce layer."""
    still = {**SGD, "learning_rate": rate, "momentum": 0.0}
    return job(framework, strategy, allreduce=how, steps=1, optimizer=still, checkpoint={"every": 1})


def on_two_workers(framework: str, saved: Path) -> dict[str, dict[str, Any]]:
    """Return all runs that are launched together, over MPI.

    saved: the state of the lagged run after two steps, from which another one goes on.
    """
    lagged = job(framework, "lag1", optimizer=SGD)
    goes_on = {**lagged, "experiment": "resumed", "checkpoint": {"every": 2, "keep": 9, "resume_from": str(saved)}}
    synchronised = ("fused", "unfused", "grouped", "multistep", "blocking")
    return {
        **{f"synchronised {s}": job(framework, s, batch_norm="synchronised") for s in synchronised},
        "exact": once(framework),
        "fp16": once(framework, compression="fp16"),
        "grouped fp16": once(framework, "grouped", compression="fp16"),
        "bf16": once(framework, compression="bf16"),
        "grouped bf16": once(framework, "grouped", compression="bf16"),
        "sum": once(framework, rate=0.025, operation="sum"),
        "multistep sum": once(framework, "multistep", rate=0.025, operation="sum"),
        "alone": once(framework, "none"),
        "lagged": lagged,
        "resumed": goes_on,
        "adasum": once(framework, operation="adasum"),
    }


@pytest.fixture(scope="module")
def launched(real_ranks: None, tmp_path_factory: pytest.TempPathFactory) -> Launched:
    """Return what does all runs of a framework on two workers, once for all tests."""

    @cache
    def folders(framework: str) -> dict[str, RunFolder]:
        results = tmp_path_factory.mktemp(framework)
        how = {"workers": 2, "allreduce": {"controller": "mpi", "cache": False}}
        lagged = Store(results).open_run(decode({**on_two_workers(framework, Path())["lagged"], **how}, "parity"))
        runs = on_two_workers(framework, lagged.checkpoints / "step-00000002.safetensors")
        # What does without Horovod has MPI to itself, or none; and other threads, which TensorFlow places once.
        alone = [name for name in runs if runs[name]["strategy"] in ("blocking", "none")]
        together = [name for name in runs if name not in alone]
        done = [
            (names, started(results, [runs[name] for name in names])) for names in (together, *([n] for n in alone))
        ]
        return {name: folder for names, folders in done for name, folder in zip(names, folders, strict=True)}

    return folders


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_all_strategies_are_one_trajectory(framework: str, launched: Launched) -> None:
    """With synchronised layers, which meet amid a step by the transport of the gradients."""
    folders = launched(framework)
    runs = {name: recorded(folder) for name, folder in folders.items() if name.startswith("synchronised")}
    fused = runs["synchronised fused"]
    assert len(runs) == 5
    for name, run in runs.items():
        assert run.fingerprints == fused.fingerprints and run.state.keys() == fused.state.keys()
        assert difference(fused, run) < EQUAL, name


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_three_workers(framework: str, launched: Launched, tmp_path: Path) -> None:
    """Shards are not equally large; each worker accumulates two micro-batches; nothing is a power of two. By Gloo."""
    settings = [job(framework, s, accumulate=2) for s in ("fused", "multistep")]
    settings.append(job(framework, "unfused", batch_norm="synchronised"))
    fused, multistep, synchronised = start(tmp_path, settings, workers=3, controller="gloo")
    assert 0 < difference(fused, multistep) < SAME
    assert 0 < difference(synchronised, recorded(launched(framework)["synchronised fused"])) < SAME


def test_a_lagged_run_applies_gradients_a_step_later(launched: Launched) -> None:
    """Its first two steps leave the weights that one of plain gradient descent leaves: no velocity stands yet."""
    for framework in FRAMEWORKS:
        folders = launched(framework)
        lagged, prompt = state_after(folders["lagged"], 2), recorded(folders["exact"])
        weights = [name.removeprefix("pending/") for name in lagged if name.startswith("pending/")]
        assert weights and recorded(folders["lagged"]).losses[0] == pytest.approx(prompt.losses[0], rel=1e-12)
        assert max(relative(prompt.state[name], lagged[name]) for name in weights) < 1e-12
    assert difference(*(recorded(launched(framework)["lagged"]) for framework in FRAMEWORKS)) < SAME


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_resumed_lagged_run_ends_as_one_that_never_stopped(framework: str, launched: Launched) -> None:
    """What travels when the state is saved is part of it."""
    straight, resumed = (recorded(launched(framework)[name]) for name in ("lagged", "resumed"))
    assert len(straight.losses) == 4 and resumed.losses == straight.losses[2:]
    assert difference(straight, Trajectory(straight.losses, straight.fingerprints, resumed.state)) == 0


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_travels_and_what_becomes_of_it(framework: str, launched: Launched) -> None:
    """Sixteen bits lose what they must lose and no more; a sum at half the rate is the mean; Adasum is its formula."""
    runs = {name: recorded(folder) for name, folder in launched(framework).items()}
    exact, summed, alone = runs["exact"], runs["sum"], runs["alone"]
    for kind in ("fp16", "bf16"):
        assert difference(runs[kind], runs[f"grouped {kind}"]) == 0
    assert difference(summed, runs["multistep sum"]) == 0
    assert all(relative(exact.state[name], summed.state[name]) == 0 for name in exact.state if "/" not in name)
    for kind, digits in (("fp16", 2.0**-11), ("bf16", 2.0**-8)):
        lost = max(relative(exact.state[name], runs[kind].state[name]) for name in _gradients(exact))
        assert digits / 100 < lost < 2 * digits
    for name in _gradients(exact):
        first = alone.state[name]  # rank 0's own
        second = summed.state[name] - first
        assert relative(_adasum(first, second), runs["adasum"].state[name]) < SAME, name


def state_after(folder: RunFolder, step: int) -> Arrays:
    """Return the state that a run saved after this step."""
    config = folder.read_config()
    return Checkpoints(folder.checkpoints, config.checkpoint.keep).load(step, config, prepare(config).shapes)


def _gradients(run: Trajectory) -> list[str]:
    """Return the names of the velocities, which after one step without momentum are the reduced gradients."""
    return [name for name in run.state if name.startswith("momentum/")]


def _adasum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return two workers' gradients of one tensor combined (Maleki et al. 2021, eq. 4)."""
    product = np.vdot(a, b)
    return (1 - product / (2 * np.vdot(a, a))) * a + (1 - product / (2 * np.vdot(b, b))) * b
