"""A backend that has served other runs gives the bits of a new one, whatever those runs were."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from horovod_runner.config.schema import decode
from horovod_runner.frameworks.base import Backend, Job
from horovod_runner.frameworks.build import load_backend
from horovod_runner.machine.world import World
from horovod_runner.parity.ranks import recorded
from horovod_runner.parity.sides import Trajectory
from horovod_runner.results.record import RunResult
from horovod_runner.results.store import Store
from horovod_runner.training.join import say_nothing
from horovod_runner.training.reuse import Backends
from horovod_runner.training.run import run

FRAMEWORKS = ["torch", "tensorflow"]
SMALL: dict[str, Any] = {
    "workload": "unet",
    "width": 4,
    "data": {"image_size": 32, "examples": 64},
    "local_batch": 8,
    "accumulate": 2,
    "batch_norm": "ghost",
    "ghost_batch": 2,
    "threads": 1,
    "steps": 6,
    "checkpoint": {"every": 3},
}
OPTIMIZERS = {
    "sgd": {"name": "sgd", "momentum": 0.9, "learning_rate": 0.05, "weight_decay": 1.0},
    "adam": {"name": "adam", "learning_rate": 0.001},
}


class Builder:
    """load_backend, counted."""

    def __init__(self) -> None:
        self.built: list[weakref.ref[Backend]] = []

    def __call__(self, job: Job) -> Backend:
        backend = load_backend(job)
        self.built.append(weakref.ref(backend))
        return backend


def done(results: Path, load: Callable[[Job], Backend], plain: dict[str, Any]) -> tuple[RunResult, Trajectory]:
    config = decode(plain, "test")
    folder = Store(results).open_run(config)
    result = run(config, folder, World(), say_nothing, load)
    return result, recorded(folder)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_no_trace_of_the_runs_before(framework: str, optimizer: str, tmp_path: Path) -> None:
    job = {**SMALL, "framework": framework, "optimizer": OPTIMIZERS[optimizer], "seed": 1}
    _, new = done(tmp_path / "new", load_backend, job)
    build = Builder()
    backends = Backends(build)
    wild = {**OPTIMIZERS[optimizer], "learning_rate": 1e6}
    before, _ = done(tmp_path / "used", backends.load, {**job, "optimizer": wild, "seed": 0, "steps": 40})
    assert optimizer == "adam" or before.status == "diverged", "it leaves what is no number everywhere"
    _, used = done(tmp_path / "used", backends.load, job)
    assert len(build.built) == 1, "one backend served both"
    assert used.losses == new.losses and used.fingerprints == new.fingerprints
    assert used.state.keys() == new.state.keys()
    assert {name.split("/")[0] for name in new.state} & {"momentum", "exp_avg"}, "slots are compared as well"
    for name, array in new.state.items():
        np.testing.assert_array_equal(used.state[name], array, err_msg=name)


def test_two_backends_are_kept_and_a_third_replaces_the_one_that_rested_longest(tmp_path: Path) -> None:
    build = Builder()
    backends = Backends(build)
    for batch, built in ((2, 1), (4, 2), (2, 2), (6, 3), (2, 3), (4, 4)):
        done(
            tmp_path,
            backends.load,
            {**SMALL, "framework": "torch", "local_batch": 2 * batch, "seed": built, "steps": 1},
        )
        assert len(build.built) == built
    gc.collect()
    assert sum(backend() is not None for backend in build.built) == 2


def test_steps_that_shared_the_machine_stay_untimed_when_the_rest_did_not(tmp_path: Path) -> None:
    config = decode({**SMALL, "framework": "torch", "steps": 16}, "test")
    folder = Store(tmp_path).open_run(config)

    def interrupted(line: str) -> None:
        if line.startswith("epoch"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, folder, World(local_size=2), interrupted)
    result = run(config, folder, World(), say_nothing)
    assert result.status == "completed" and len(recorded(folder).losses) == 16
    assert result.at_once == 2 and result.images_per_second is None
