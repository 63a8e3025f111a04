"""Batches that lack examples, and examples that lack pixels: real runs against their steps worked out by hand.

By hand means: the batches are put together here from a sound copy of the folder, without the examples that are broken;
a worker's gradient is what the momentum slot holds after a step at rate 0; gradients are averaged by what is behind
each, and applied, in NumPy. In float64 1e-9 is some rounding, multiplied by a few steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.architecture import Arrays
from benchmarks.data import open_dataset
from benchmarks.data.batch import Batch
from benchmarks.data.dataset import Dataset
from benchmarks.data.order import Shard
from benchmarks.targets import VOID
from horovod_runner.config.frameworks import PAIR
from horovod_runner.config.schema import RunConfig, decode
from horovod_runner.launch.processes import launch
from horovod_runner.parity.ranks import recorded
from horovod_runner.parity.rows import worst, worst_step
from horovod_runner.parity.sides import Side
from horovod_runner.results.store import RunFolder, Store

STEPS, RATE, MOMENTUM = 3, 0.05, 0.9
TRAIN, SIDE = 12, 32
SAME = 1e-9


def _folder(root: Path, broken: frozenset[int], void: bool) -> Path:
    """Write 12 pairs to train on and 3 to validate; with `void` a corner of some masks is 255."""
    generator = np.random.default_rng(5)
    for split, count in (("train", TRAIN), ("val", 3)):
        for number in range(count):
            pixels = generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            mask = generator.integers(0, 3, (SIDE, SIDE), dtype=np.uint8)
            if void:
                mask[: 5 * (number % 5), : 2 * number + 1] = 255
            for what, array in (("images", pixels), ("masks", mask)):
                path = root / split / what / f"{number:02}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(path)
            if split == "train" and number in broken:
                (root / split / "images" / f"{number:02}.png").write_bytes(b"cut short")
    return root


@dataclass(frozen=True)
class Case:
    """A run: how many workers, which training images are broken, and what else is set."""

    workers: int
    broken: frozenset[int]
    void: bool = False
    settings: dict[str, Any] = field(default_factory=dict)

    def run(self, framework: str, folder: Path, **changes: Any) -> dict[str, Any]:
        """Return the run's settings, on this folder."""
        data = {"path": str(folder), "image_size": SIDE, "augment": False, "processes": 0}
        data |= {"broken": "skip"} if self.broken else {}
        data |= {"void": 255} if self.void else {}
        usual = {
            "framework": framework,
            "workload": "unet",
            "experiment": "uneven",
            "width": 4,
            "precision": "float64",
            "threads": 1,
            "steps": STEPS,
            "global_batch": 4,
            "workers": self.workers,
            "validation_statistics": "precise",
            "checkpoint": {"every": STEPS},
            "optimizer": {"name": "sgd", "learning_rate": RATE, "momentum": MOMENTUM},
        }
        return {**usual, "data": data, **self.settings, **changes}


BLANK = {"global_batch": 2}
CASES = {
    "one worker": Case(1, frozenset({3, 8})),
    "two workers": Case(2, frozenset({3, 8})),
    "statistics over two workers": Case(2, frozenset({3, 8}), settings={"batch_norm": "synchronised"}),
    "a worker without an example": Case(2, frozenset({2, 5}), settings=BLANK),
    "of shards": Case(2, frozenset({2, 5}), settings={**BLANK, "strategy": "multistep"}),
    "of statistics over both": Case(2, frozenset({2, 5}), settings={**BLANK, "batch_norm": "synchronised"}),
    "reduced by MPI": Case(2, frozenset({2, 5}), settings={**BLANK, "strategy": "blocking"}),
    "virtual workers": Case(1, frozenset({3, 8}), settings={"virtual_workers": 2}),
    "a virtual worker without an example": Case(1, frozenset({2, 5}), settings={**BLANK, "virtual_workers": 2}),
    "void, one worker": Case(1, frozenset(), void=True),
    "void, two workers": Case(2, frozenset(), void=True),
    "void and broken": Case(2, frozenset({3, 8}), void=True, settings={"batch_norm": "synchronised"}),
}


@pytest.mark.usefixtures("real_ranks")
@pytest.mark.parametrize("framework", PAIR)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_run_is_the_same_as_worked_by_hand(case: Case, framework: str, tmp_path: Path) -> None:
    folder = _folder(tmp_path / "data", case.broken, case.void)
    run = _run(decode(case.run(framework, folder), "test"), tmp_path / "results")
    found = recorded(run)
    sound = _folder(tmp_path / "sound", frozenset(), case.void)
    losses, state, validated = _by_hand(case, framework, sound)
    assert worst_step(found.losses, losses)[0] < SAME
    assert worst_step(found.validated[-2:], validated)[0] < SAME
    assert worst({name: found.state[name] for name in state}, state) < (SAME, "")
    assert run.read_result().skipped_examples == len(case.broken)
    named = [line for line in run.log_file.read_text().splitlines() if "left out: " in line]
    assert sorted(Path(line.split("left out: ")[1].split(" cannot be read")[0]).stem for line in named) == [
        f"{number:02}" for number in sorted(case.broken)
    ]


@pytest.mark.parametrize("framework", PAIR)
@pytest.mark.parametrize("settings", [{}, {"virtual_workers": 2}, {"batch_norm": "synchronised"}], ids=str)
def test_clean_data_train_bit_for_bit_as_where_nothing_is_skipped(
    framework: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    folder = _folder(tmp_path, frozenset(), void=False)
    trained = []
    for broken in ("stop", "skip"):
        plain = Case(1, frozenset()).run(framework, folder, **settings)
        trained.append(Side(framework, {**plain, "data": {**plain["data"], "broken": broken}}).train(STEPS))
    assert trained[0].losses == trained[1].losses
    assert {k: v.tobytes() for k, v in trained[0].state.items()} == {
        k: v.tobytes() for k, v in trained[1].state.items()
    }


def _run(config: RunConfig, results: Path) -> RunFolder:
    folder = Store(results).open_run(config)
    with folder.log_file.open("ab") as log:
        assert launch(config, folder, log=log).code == 0, folder.log_file.read_text()
    return folder


def _by_hand(case: Case, framework: str, sound: Path) -> tuple[list[float], Arrays, tuple[float, float]]:
    """Return the loss of each step, weights, velocity and running statistics at the end, and the last validation."""
    # Statistics over all workers are those of one worker that has the whole batch.
    together = case.settings.get("batch_norm") == "synchronised"
    workers = 1 if together else case.workers * case.settings.get("virtual_workers", 1)
    plain = case.run(framework, sound, workers=1, virtual_workers=1, batch_norm="local", strategy="fused")
    plain["validation_statistics"] = "running"
    plain["data"] = {**plain["data"], "broken": "stop", "void": 255 if case.void else None}
    side = Side(framework, plain)
    dataset = open_dataset(side.config.data, "segmentation", 0)
    start = side.backend.state()
    weights = {array.name: start[array.name] for array in side.architecture.trainable}
    velocity = {name: np.zeros_like(value) for name, value in weights.items()}
    statistics = [{array.name: start[array.name] for array in side.architecture.statistics} for _ in range(workers)]
    losses = []
    for step in range(STEPS):
        batches = [_batch(case, dataset, step, rank, workers) for rank in range(workers)]
        valid = np.array([0 if batch is None else (batch.targets != VOID).sum() for batch in batches], np.float64)
        mean, loss = {name: np.zeros_like(value) for name, value in weights.items()}, 0.0
        for rank, batch in enumerate(batches):
            if batch is None:
                continue
            at_rest = {f"momentum/{name}": np.zeros_like(value) for name, value in weights.items()}
            side.backend.load_state({**at_rest, **weights, **statistics[rank]})
            loss += side.backend.step(batch, 0.0) * valid[rank] / valid.sum()
            after = side.backend.state()
            statistics[rank] = {name: after[name] for name in statistics[rank]}
            mean = {name: mean[name] + after[f"momentum/{name}"] * valid[rank] / valid.sum() for name in mean}
        velocity = {name: MOMENTUM * velocity[name] + mean[name] for name in mean}
        weights = {name: weights[name] - RATE * velocity[name] for name in mean}
        losses.append(loss)
        if "virtual_workers" in case.settings:  # they share what they have seen at every step
            statistics = [_shared(statistics)] * workers
    shared = _shared(statistics)
    side.backend.load_state(weights)
    side.backend.load_state(_precise(case, side, dataset, workers))
    validated = side.validate()
    state = {**weights, **{f"momentum/{name}": value for name, value in velocity.items()}, **shared}
    return losses, state, (validated.loss, validated.metric)


def _precise(case: Case, side: Side, dataset: Dataset, workers: int) -> Arrays:
    """Return the mean statistics of all batches of the epoch that hold examples, of all workers, each counted once."""
    names = [array.name for array in side.architecture.statistics]
    steps, taken = range(TRAIN // case.settings.get("global_batch", 4)), []
    batches = [_batch(case, dataset, step, rank, workers) for step in steps for rank in range(workers)]
    for batch in batches:
        if batch is not None:
            side.backend.take_statistics(batch, 0)
            taken.append(side.backend.state_of(names))
    return _shared(taken)


def _shared(statistics: list[Arrays]) -> Arrays:
    return {name: np.mean([own[name] for own in statistics], axis=0) for name in statistics[0]}


def _batch(case: Case, dataset: Dataset, step: int, rank: int, workers: int) -> Batch | None:
    """Return a worker's batch without the broken examples; None where nothing is left of it."""
    global_batch = case.settings.get("global_batch", 4)
    _, indices = Shard(TRAIN, global_batch, rank, workers, 0).indices(step)
    examples = [dataset.train.read(int(i), None) for i in indices if int(i) not in case.broken]
    if not examples:
        return None
    images, targets = (np.stack(arrays) for arrays in zip(*examples, strict=True))
    return Batch(images, targets.astype(np.int32), np.ones(len(images), np.float32))
