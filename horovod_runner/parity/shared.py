"""The rows about what both frameworks share: schedules, metrics, validation, pixels and their order.

Two frameworks that use the same code agree about it whether it is right or wrong. So each of these is worked out here a
second time, in plain NumPy and loops, from the formula and not from the suite's code.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.data import open_dataset
from benchmarks.data.digits import digit_splits
from benchmarks.objectives import reference
from horovod_runner.config.settings import DataConfig, LossConfig, ScheduleConfig
from horovod_runner.parity.rows import Row, relative
from horovod_runner.parity.settings import plain
from horovod_runner.parity.sides import Side, both, moved
from horovod_runner.training.schedule import Schedule, scaling_factor

ROUNDING = 1e-12  # a few operations in float64, over values of order one
"""How far two ways of writing a formula may be apart in float64."""
ARITHMETIC = "a few operations in float64"
GREY_LEVEL = 1.5 / 255
"""Pillow rounds twice to 8 bits on the way, once along each axis."""


def shared() -> list[Row]:
    """Return all rows that need no model."""
    return [*schedules(), *scaling_rules(), *metrics(), *pixels(), order()]


def schedules() -> Iterator[Row]:
    """Yield a row for each form of warmup and decay: the rates of all steps of a run."""
    per_epoch, total, warmup_epochs, base, peak = 7, 43, 2.5, 0.3, 4.0
    warm = warmup_epochs * per_epoch
    ramps = {
        "gradual": lambda t: base * (1 + (peak - 1) * min(t / warm, 1)),
        "constant": lambda t: base,
        "from_zero": lambda t: base * peak * min(t / warm, 1),
    }
    left = {step: (step - warm) / (total - warm) for step in range(total)}
    decays = {
        "constant": lambda step: 1.0,
        "step": lambda step: 0.2 ** sum(step >= epoch * per_epoch for epoch in (3.0, 4.5)),
        "polynomial": lambda step: 0.1 + 0.9 * (1 - left[step]) ** 3,
        "cosine": lambda step: 0.1 + 0.9 * (1 + math.cos(math.pi * left[step])) / 2,
    }
    numbers = {"milestones": (3.0, 4.5), "factor": 0.2, "power": 3.0, "end_factor": 0.1}
    for warmup, decay in itertools.product(ramps, decays):
        plain_settings = {"warmup_epochs": warmup_epochs, "warmup": warmup, "decay": decay, **numbers}
        settings = ScheduleConfig.model_validate(plain_settings)
        found = np.array([Schedule(settings, base, peak, per_epoch, total)(step) for step in range(total)])
        by_hand = [ramps[warmup](step + 1) if step < warm else base * peak * decays[decay](step)
                   for step in range(total)]  # fmt: skip
        yield _row(f"schedule: {warmup} warmup, {decay} decay, {total} rates", found, np.array(by_hand))


def scaling_rules() -> Iterator[Row]:
    """Yield a row for each rule that makes a peak rate of a base rate: 6 workers, a batch of 384 for one of 96."""
    rules = {"none": 1, "linear_workers": 6, "sqrt_workers": 6**0.5, "linear_samples": 4, "sqrt_samples": 2}
    for name, factor in rules.items():
        settings = ScheduleConfig.model_validate({"scaling": name, "reference_batch": 96})
        found = scaling_factor(settings, workers=6, global_batch=384)
        yield _row(f"schedule: peak by {name}", np.array(found), np.array(float(factor)))


def metrics() -> Iterator[Row]:
    """Yield the rows about loss and metric of both jobs, over batches of which one is partly padding."""
    rng = np.random.default_rng(11)
    settings = LossConfig(label_smoothing=0.1, dice_weight=0.3)
    for task, shape, classes in (("classification", (), 5), ("segmentation", (4, 6), 4)):
        logits = rng.normal(size=(3, 6, *shape, classes))
        targets = rng.integers(0, classes - 1, (3, 6, *shape))  # the last class may be predicted, and never occurs
        weights = np.ones((3, 6))
        weights[2, 4:] = 0
        total = sum(reference.sums(task, *batch, settings) for batch in zip(logits, targets, weights, strict=True))
        loss, name, metric = reference.figures(task, np.asarray(total))
        real = weights > 0
        by_hand = figures_by_hand(task, logits[real], targets[real], settings)
        yield _row(f"{task}: loss over three batches, the last one padded", loss, by_hand.loss)
        yield _row(f"{task}: {name} over three batches, the last one padded", metric, by_hand.metric)


def pixels() -> Iterator[Row]:
    """Yield the rows about pixels: digits enlarged and normalised, a user's image cropped and normalised."""
    opened = open_dataset(DataConfig(name="digits", image_size=20, channels=3), task="classification", seed=0)
    ink = digit_splits()[1][0][:9]
    by_hand = (_enlarged(ink, 20) - 0.3056) / 0.3765
    found = np.stack([opened.validation.read(index, None)[0] for index in range(9)])
    by_hand = np.repeat(by_hand[..., None], 3, axis=-1)
    yield _row("digits: enlarged to 20 pixels and normalised", found, by_hand, 1e-6, "stored in float32")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        image = np.random.default_rng(12).integers(0, 256, (8, 8, 3)).astype(np.uint8)
        for split, name in itertools.product(("train", "val"), ("a", "b")):
            (root / split / name).mkdir(parents=True)
            Image.fromarray(image).save(root / split / name / "1.png")
        data = DataConfig(name="image_folder", path=folder, image_size=7, channels=3)
        found, _ = open_dataset(data, task="classification", seed=0).validation.read(0, None)
    # 8 pixels resized to 256/224 of 7 stay 8 pixels; the central 7 begin at half a pixel, so each is the mean of four.
    four = image.astype(np.float64) / 255
    mean_of_four = (four[:-1, :-1] + four[1:, :-1] + four[:-1, 1:] + four[1:, 1:]) / 4
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    what = "image folder: the central crop of the standard evaluation, before normalisation"
    yield _row(what, found * std + mean, mean_of_four, GREY_LEVEL, "rounded twice to 8 bits on the way")


def order() -> Row:
    """Return the row about the order of examples: every worker's part of every batch, over two epochs and a half."""
    from benchmarks.data.order import Shard

    examples, batch, workers, seed, wrong = 50, 12, 3, 7, []
    for step in range(10):
        epoch, number = step // 4, step % 4
        shuffled = np.random.default_rng([seed, epoch]).permutation(examples)
        whole = shuffled[number * batch : (number + 1) * batch]
        parts = [Shard(examples, batch, rank, workers, seed).indices(step)[1] for rank in range(workers)]
        if not np.array_equal(np.concatenate(parts), whole):
            wrong.append(f"step {step + 1}")
    return Row(claim="shared", what="order: the parts of 3 workers, 10 steps, are one shuffle an epoch, cut in order",
               difference=len(wrong), tolerance=0, why="the same numbers", where=wrong[0] if wrong else "")  # fmt: skip


def validation(workload: str) -> list[Row]:
    """Return the rows about validation of one worker: example by example, in either framework.

    The last batch is partly padding: 360 digits, or 32 scenes, in batches of 7.
    """
    changes: dict[str, Any] = {"global_batch": 7, "loss": {"label_smoothing": 0.1, "dice_weight": 0.3}}
    rows = []
    for side in both(plain(workload, **changes)):
        side.backend.load_state(moved(side.architecture))
        found = side.validate()
        by_hand = _one_by_one(side)
        label = f"{workload}, {side.config.framework}: validation of one worker, last batch padded"
        rows += [
            _row(f"{label}: loss", np.array(found.loss), np.array(by_hand.loss), 1e-11, "as a forward pass"),
            _row(f"{label}: metric", np.array(found.metric), np.array(by_hand.metric)),
        ]
    return rows


@dataclass(frozen=True)
class ByHand:
    """A mean loss and a metric."""

    loss: float
    metric: float


def _one_by_one(side: Side) -> ByHand:
    """Return loss and metric over all validation examples, each evaluated from the split itself."""
    split = side.validation_split
    read = [split.read(index, None) for index in range(len(split))]
    images, targets = np.stack([image for image, _ in read]), np.stack([target for _, target in read])
    logits = side.evaluate(images)
    return figures_by_hand(side.config.job.task, logits, targets, side.config.loss)


def figures_by_hand(task: str, logits: np.ndarray, targets: np.ndarray, settings: LossConfig) -> ByHand:
    """Return the mean loss and the metric of these examples, in loops over them."""
    classes = logits.shape[-1]
    losses, hits = [], []
    seen = {c: [0, 0] for c in range(classes)}  # pixels in both, pixels in either
    for scores, target in zip(logits.reshape(len(logits), -1, classes), targets.reshape(len(targets), -1), strict=True):
        p = np.exp(scores - scores.max(axis=-1, keepdims=True))
        p /= p.sum(axis=-1, keepdims=True)
        wanted = np.eye(classes)[target]
        smooth = (1 - settings.label_smoothing) * wanted + settings.label_smoothing / classes
        losses.append(-(smooth * np.log(p)).sum(axis=-1).mean())
        if task == "segmentation":
            dice = [(2 * (p[:, c] @ wanted[:, c]) + 1) / (p[:, c].sum() + wanted[:, c].sum() + 1)
                    for c in range(classes)]  # fmt: skip
            losses[-1] += settings.dice_weight * (1 - np.mean(dice))
        chosen = scores.argmax(axis=-1)
        hits.append((chosen == target).mean())
        for c in seen:
            seen[c][0] += int(((chosen == c) & (target == c)).sum())
            seen[c][1] += int(((chosen == c) | (target == c)).sum())
    ious = [both_ / either for both_, either in seen.values() if either]
    return ByHand(float(np.mean(losses)), float(np.mean(hits if task == "classification" else ious)))


def _enlarged(images: np.ndarray, size: int) -> np.ndarray:
    """Return images (n, h, w) enlarged bilinearly, pixel by pixel."""
    side = images.shape[-1]
    out = np.empty((len(images), size, size))
    for row, column in itertools.product(range(size), repeat=2):
        y, x = (min(max((place + 0.5) * side / size - 0.5, 0), side - 1) for place in (row, column))
        top, left = min(int(y), side - 2), min(int(x), side - 2)
        down, right = y - top, x - left
        out[:, row, column] = (
            images[:, top, left] * (1 - down) * (1 - right)
            + images[:, top + 1, left] * down * (1 - right)
            + images[:, top, left + 1] * (1 - down) * right
            + images[:, top + 1, left + 1] * down * right
        )
    return out


def _row(what: str, found: Any, by_hand: Any, tolerance: float = ROUNDING, why: str = ARITHMETIC) -> Row:
    difference = relative(np.asarray(found, np.float64), np.asarray(by_hand, np.float64))
    return Row(claim="shared", what=what, difference=difference, tolerance=tolerance, why=why)
