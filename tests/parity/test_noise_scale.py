"""The norms that training records, against gradients taken by hand, and on against off."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.architecture import Arrays
from horovod_runner.parity.settings import plain
from horovod_runner.parity.sides import Side

FRAMEWORKS = ["torch", "tensorflow"]
SAME = 1e-9
PROMPT = {"name": "sgd", "learning_rate": 0.05, "momentum": 0.0, "weight_decay": 0.01, "clip_norm": 0.1}


def job(framework: str, **changes: Any) -> dict[str, Any]:
    """Return a small U-Net with decay and clipping, which the norms must know nothing of."""
    sizes = {"width": 4, "data": {"name": "digit_scenes", "image_size": 32, "examples": 64}}
    settings = {"steps": 3, "optimizer": PROMPT, "global_batch": 12, "noise_scale": True, **sizes, **changes}
    return plain("unet", framework=framework, **settings)


def gradient(side: Side, weights: Arrays, batch: Any) -> np.ndarray:
    """Return the gradient of a batch at these weights: without momentum the velocity, after a step, is nothing else."""
    side.backend.load_state(weights)
    side.backend.step(batch, 0.0)
    state = side.backend.state()
    return np.concatenate([state[name].ravel() for name in sorted(state) if name.startswith("momentum/")])


@pytest.mark.parametrize(
    "micro_batches", [{"virtual_workers": 3}, {"accumulate": 2}, {"virtual_workers": 2, "accumulate": 2}]
)
def test_norms_are_those_of_the_shards_gradients(micro_batches: dict[str, int]) -> None:
    """Both frameworks, two steps; by hand: each shard alone, in a run of one worker that measures nothing."""
    recorded = []
    for framework in FRAMEWORKS:
        side = Side(framework, job(framework, **micro_batches))
        still = {**PROMPT, "weight_decay": 0.0, "clip_norm": None}
        count = side.config.micro_batches
        alone = Side(framework, job(framework, global_batch=12 // count, noise_scale=False, optimizer=still))
        names = [array.name for array in side.architecture.arrays]
        for batch in side.batches(2):
            weights = side.backend.state_of(names)
            side.backend.step(batch, 0.05)
            shards = np.stack([gradient(alone, weights, shard) for shard in batch.split(count)])
            expected = (shards**2).sum(axis=1).mean(), (shards.mean(axis=0) ** 2).sum()
            assert side.backend.squared_norms() == pytest.approx(expected, rel=SAME)
            assert expected[0] > 1.01 * expected[1]
            recorded.append(side.backend.squared_norms())
    assert np.array(recorded[:2]) == pytest.approx(np.array(recorded[2:]), rel=SAME)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_measuring_changes_no_bit_of_training(framework: str, precision: str) -> None:
    """Three micro-batches, whose norms are taken before they are added up."""
    changes = {"virtual_workers": 3, "precision": precision, "optimizer": {"name": "sgd", "learning_rate": 0.05}}
    runs = [Side(framework, job(framework, noise_scale=on, **changes)).train(3) for on in (True, False)]
    assert runs[0].losses == runs[1].losses
    assert all((runs[0].state[name] == runs[1].state[name]).all() for name in runs[1].state)
