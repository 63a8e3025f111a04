"""Validation with precise statistics: it shows the model of now, and training never learns of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from horovod_runner.config.frameworks import PAIR
from horovod_runner.config.schema import decode
from horovod_runner.frameworks.build import load_backend
from horovod_runner.machine.world import World
from horovod_runner.parity.launches import recorded
from horovod_runner.parity.rows import worst
from horovod_runner.parity.sides import Side, Trajectory, moved
from horovod_runner.results.store import RunFolder, Store
from horovod_runner.training.join import say_nothing
from horovod_runner.training.reuse import Backends
from horovod_runner.training.run import run

SMALL: dict[str, Any] = {
    "workload": "unet",
    "width": 4,
    "data": {"image_size": 32, "examples": 48},
    "local_batch": 8,
    "threads": 1,
    "steps": 7,
    "validate_steps": 2,
    "optimizer": {"name": "sgd", "momentum": 0.9, "learning_rate": 0.1},
    "checkpoint": {"every": 3},
}
NORMS: dict[str, dict[str, Any]] = {
    "local": {},
    "ghost in virtual workers": {"batch_norm": "ghost", "ghost_batch": 4, "virtual_workers": 2},
    "synchronised": {"batch_norm": "synchronised"},
}
BACKENDS = Backends(load_backend)  # a graph is traced once for runs that differ in how they are validated


def opened(results: Path, plain: dict[str, Any]) -> RunFolder:
    return Store(results).open_run(decode({**SMALL, **plain}, "test"))


def done(results: Path, plain: dict[str, Any]) -> Trajectory:
    folder = opened(results, plain)
    run(folder.read_config(), folder, World(), say_nothing, BACKENDS.load)
    return recorded(folder)


@pytest.mark.parametrize("framework", PAIR)
@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_training_is_bit_for_bit_the_same(framework: str, norm: dict[str, Any], tmp_path: Path) -> None:
    """Through an epoch's end: seven steps of six in an epoch, of which three are validated, and the last."""
    plain = {"framework": framework, **norm}
    running = done(tmp_path, plain)
    precise = done(tmp_path, {**plain, "validation_statistics": "precise", "precise_examples": 20})
    assert precise.losses == running.losses
    assert {k: v.tobytes() for k, v in precise.state.items()} == {k: v.tobytes() for k, v in running.state.items()}
    assert len(precise.validated) == 8 and not set(precise.validated[::2]) & set(running.validated[::2])


@pytest.mark.parametrize("framework", PAIR)
def test_a_resumed_run_validates_as_one_that_never_stopped(framework: str, tmp_path: Path) -> None:
    plain = {"framework": framework, "validation_statistics": "precise", "precise_examples": 20}
    straight = done(tmp_path / "straight", plain)
    stopped = opened(tmp_path / "stopped", plain)

    def interrupted(line: str) -> None:
        if "step      4" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(stopped.read_config(), stopped, World(), interrupted, BACKENDS.load)
    run(stopped.read_config(), stopped, World(), say_nothing, BACKENDS.load)
    assert recorded(stopped).validated == straight.validated


@pytest.mark.parametrize("framework", PAIR)
def test_the_first_layer_by_hand(framework: str) -> None:
    """One batch holds all precise examples: the mean of its maps, and the unbiased variance."""
    plain = {**SMALL, "validation_statistics": "precise", "precise_examples": 8, "precision": "float64"}
    side = Side(framework, plain)
    side.backend.load_state(moved(side.architecture))
    batch = side.first_batch()
    values = len(batch) * 32 * 32  # of the first layer
    precise = side.statistics_to_validate_with()
    mean, variance = (precise[f"down.0.bn1.running_{what}"] for what in ("mean", "var"))
    kernel = moved(side.architecture)["down.0.conv1.weight"]
    padded = np.pad(batch.images[..., 0].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    maps = np.einsum("bhwij,oij->obhw", windows, kernel[:, 0]).reshape(len(kernel), -1)
    np.testing.assert_allclose(mean, maps.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(variance, maps.var(axis=1) * values / (values - 1), rtol=1e-12)


def test_whole_batches_and_an_epoch_at_most() -> None:
    found = []
    for examples in (41, 48, 512):
        side = Side("torch", {**SMALL, "validation_statistics": "precise", "precise_examples": examples})
        found.append(side.statistics_to_validate_with())
    assert worst(found[0], found[1])[0] == worst(found[1], found[2])[0] == 0


@pytest.mark.parametrize("framework", PAIR)
def test_a_job_without_normalisation_has_nothing_to_take(framework: str, tmp_path: Path) -> None:
    vgg16 = {**SMALL, "framework": framework, "workload": "vgg16", "steps": 2, "data": {"image_size": 32}}
    running, precise = (done(tmp_path, {**vgg16, "validation_statistics": which}) for which in ("running", "precise"))
    assert precise.validated == running.validated
