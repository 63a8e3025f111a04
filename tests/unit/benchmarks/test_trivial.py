"""What the trivial predictor scores, by hand and for every source of data; and when a run has learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.data import open_dataset
from benchmarks.data import trivial as of_labels
from benchmarks.objectives import reference, trivial
from benchmarks.targets import VOID
from horovod_runner.config.settings import DataConfig, LossConfig


def summed(predicted: np.ndarray, targets: np.ndarray, classes: int = 4) -> np.ndarray:
    """Return the sums of a validation in which these classes were predicted."""
    logits = np.eye(classes)[predicted] * 9.0
    return reference.sums("segmentation", logits, targets, np.ones(len(targets)), LossConfig())


def test_the_most_frequent_training_class_is_judged_on_the_validation_examples() -> None:
    train, validation = np.array([2, 2, 2, 0, 1]), np.array([0, 0, 0, 0, 2])
    assert of_labels.most_frequent_label(train, validation) == 0.2, (
        "not 0.8, which only the validation's labels know of"
    )


def test_the_most_frequent_pixel_scores_what_predicting_it_everywhere_scores() -> None:
    rng = np.random.default_rng(0)
    targets = rng.choice([0, 1, 3, VOID], size=(3, 8, 8), p=[0.7, 0.1, 0.1, 0.1])
    anything = summed(rng.integers(0, 4, targets.shape), targets)
    everywhere = summed(np.zeros_like(targets), targets)
    assert trivial.most_frequent_everywhere(anything) == reference.figures("segmentation", everywhere)[2]
    background, valid = (targets == 0).sum(), (targets != VOID).sum()
    assert trivial.most_frequent_everywhere(anything) == pytest.approx(background / valid / 3)


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_chance_is_what_guessing_scores(task: str) -> None:
    rng, classes = np.random.default_rng(1), 5
    targets, guesses = rng.integers(0, classes, (2, 40, 50, 50))
    if task == "classification":
        scored = float((targets == guesses).mean())
    else:
        scored = reference.figures(task, summed(guesses, targets, classes))[2]
    assert of_labels.chance(task, classes) == pytest.approx(scored, abs=0.003)


def test_accuracy_has_to_exceed_what_guessing_reaches_by_luck() -> None:
    hits = np.random.default_rng(2).binomial(360, 0.1, size=20_000) / 360
    lucky = float((hits > trivial.learned_above("classification", 0.1, 360)).mean())
    assert 0.01 < lucky < 0.04
    assert trivial.learned_above("classification", 0.1, 360) < 0.14, "and five of a hundred more are no luck"


@pytest.mark.parametrize("split", ["fixed", "per_seed"])
def test_digits_are_evenly_many_in_validation(split: str) -> None:
    opened = open_dataset(DataConfig(name="digits", split=split), "classification", seed=3)
    assert opened.trivial == pytest.approx(0.1)


def test_synthetic_data_know_chance() -> None:
    assert open_dataset(DataConfig(name="synthetic"), "classification", seed=0).trivial == 1 / 1000
    assert open_dataset(DataConfig(name="synthetic"), "segmentation", seed=0).trivial == pytest.approx(1 / 21)


def test_a_folder_of_images_counts_its_lists_and_opens_no_image(tmp_path: Path) -> None:
    for split, counts in (("train", {"cat": 3, "dog": 5}), ("val", {"cat": 3, "dog": 1})):
        for name, count in counts.items():
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                (folder / f"{index}.png").write_bytes(b"not an image")
    opened = open_dataset(DataConfig(name="image_folder", path=str(tmp_path)), "classification", seed=0)
    assert opened.trivial == 0.25


def test_masks_of_a_folder_are_left_to_the_validation(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            folder = tmp_path / split / kind
            folder.mkdir(parents=True)
            Image.fromarray(np.eye(8, dtype=np.uint8)).save(folder / "0.png")
    opened = open_dataset(DataConfig(name="mask_folder", path=str(tmp_path)), "segmentation", seed=0)
    assert opened.trivial is None
