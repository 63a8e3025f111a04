"""Digits, digit scenes and synthetic examples: what is in them, and that a run's seed does not change it."""

import hashlib

import numpy as np
import pytest

from benchmarks.data import digits as digits_module
from benchmarks.data import open_dataset
from benchmarks.data import scenes as scenes_module
from benchmarks.data.digits import digit_splits, enlarge, split_indices
from benchmarks.data.scenes import INK_THRESHOLD, background, make_scene, place
from benchmarks.errors import DataError
from horovod_runner.config.settings import DataConfig

SOURCES = [("digits", "classification"), ("digit_scenes", "segmentation"), ("synthetic", "classification")]
SOURCES += [("synthetic", "segmentation"), ("plain_scenes", "segmentation")]


def opened(name: str, task: str, seed: int = 0, **settings):
    return open_dataset(DataConfig(name=name, **settings), task, seed)


def everything(split):
    return split.read_many(np.arange(len(split)))


@pytest.mark.parametrize(("name", "task"), SOURCES)
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_types_and_classes_are_as_declared(name, task, channels):
    dataset = opened(name, task, image_size=40, channels=channels)
    for split in (dataset.train, dataset.validation):
        images, targets = split.read_many(np.array([1, 0, 1]))
        assert images.shape == (3, 40, 40, channels)
        assert targets.shape == ((3,) if task == "classification" else (3, 40, 40))
        assert (images.dtype, targets.dtype) == (np.float32, np.int32)
        assert targets.min() >= 0
        assert targets.max() < dataset.classes
        assert np.array_equal(images[0], images[2])
        assert not np.array_equal(images[0], images[1])


@pytest.mark.parametrize(("name", "task"), SOURCES)
def test_one_by_one_and_at_once_read_the_same_bytes(name, task):
    train = opened(name, task, image_size=33, channels=3).train
    images, targets = train.read_many(np.array([5, 2]))
    image, target = train.read(2, None)
    assert images[1].tobytes() == image.tobytes()
    assert targets[1].tobytes() == target.tobytes()


@pytest.mark.parametrize(("name", "task"), SOURCES)
def test_the_seed_of_a_run_does_not_change_the_data(name, task):
    first, second = (opened(name, task, seed=seed, image_size=32) for seed in (0, 1))
    for split in ("train", "validation"):
        a, b = (getattr(dataset, split).read_many(np.arange(8)) for dataset in (first, second))
        assert a[0].tobytes() == b[0].tobytes()
        assert a[1].tobytes() == b[1].tobytes()


def test_the_split_of_the_digits_is_stratified_disjoint_and_complete():
    from sklearn.datasets import load_digits

    (train, train_labels), (validation, validation_labels) = digit_splits()
    assert (len(train), len(validation)) == (1437, 360)
    assert np.bincount(validation_labels).tolist() == [36] * 10
    both = np.concatenate([train, validation]).reshape(1797, 64) * 16
    labels = np.concatenate([train_labels, validation_labels])
    original, original_labels = load_digits(return_X_y=True)
    rows = sorted(map(tuple, np.column_stack([both, labels]).tolist()))
    assert rows == sorted(map(tuple, np.column_stack([original, original_labels]).tolist()))


def test_the_split_of_the_digits_never_changes():
    labels = np.concatenate(digit_splits()[0][1:] + digit_splits()[1][1:])
    first, second = split_indices(labels), split_indices(labels)
    assert np.array_equal(first[1], second[1])
    validation = digit_splits()[1][0]
    assert hashlib.sha256(validation.tobytes()).hexdigest()[:16] == "cd6798cb408283b9"


def test_the_digits_are_read_once() -> None:
    """Every validation and every matrix's run opens them."""
    assert digit_splits() is digit_splits()


def test_a_split_for_each_seed_is_a_function_of_the_seed_alone():
    def found(seed, **settings):
        made = opened("digits", "classification", seed=seed, image_size=8, **settings)
        return [everything(split) for split in (made.train, made.validation)]

    fixed, again = found(0), found(5)
    drawn = {seed: found(seed, split="per_seed") for seed in (0, 1, 5)}
    twice = found(5, split="per_seed")
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(fixed, again, strict=True))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(drawn[5], twice, strict=True))
    whole = np.sort(np.concatenate([images.reshape(len(images), -1) for images, _ in fixed]), axis=0)
    for train, validation in drawn.values():
        assert np.bincount(validation[1]).tolist() == [36] * 10
        both = np.concatenate([train[0], validation[0]])
        assert np.array_equal(np.sort(both.reshape(len(both), -1), axis=0), whole)
    validations = [fixed[1], *(made[1] for made in drawn.values())]
    assert len({validation[0].tobytes() for validation in validations}) == 4


def test_scenes_of_each_seed_are_drawn_of_its_digits():
    fixed, *drawn = (
        opened("digit_scenes", "segmentation", seed=seed, image_size=32, examples=4, split=split)
        for seed, split in ((0, "fixed"), (0, "per_seed"), (1, "per_seed"), (1, "per_seed"))
    )
    scenes = [[everything(split)[0].tobytes() for split in (made.train, made.validation)] for made in (fixed, *drawn)]
    assert scenes[2] == scenes[3]
    assert len({scene for pair in scenes[:3] for scene in pair}) == 6


def test_plain_scenes_hold_four_large_digits_each():
    _, masks = everything(opened("plain_scenes", "segmentation", image_size=32, examples=40).train)
    _, harder = everything(opened("digit_scenes", "segmentation", image_size=32, examples=40).train)
    quarters = masks.reshape(40, 2, 16, 2, 16).transpose(0, 1, 3, 2, 4).reshape(160, -1)
    assert all(len(np.unique(quarter)) == 2 for quarter in quarters), "the background and one digit"
    assert (masks > 0).mean() > 1.5 * (harder > 0).mean()


def test_digits_are_normalised_with_the_statistics_written_down():
    pixels = digit_splits()[0][0]
    assert pixels.mean() == pytest.approx(digits_module.MEAN, abs=5e-4)
    assert pixels.std() == pytest.approx(digits_module.STD, abs=5e-4)
    images, _ = everything(opened("digits", "classification", image_size=8).train)
    assert abs(images.mean()) < 2e-3
    assert abs(images.std() - 1) < 2e-3


def test_enlarging_keeps_constants_and_interpolates_between_pixel_centres():
    assert np.allclose(enlarge(np.full((1, 8, 8), 0.7), 37), 0.7)
    ramp = np.tile(np.arange(8.0), (1, 8, 1))
    assert enlarge(ramp, 16)[0, 0].tolist() == [0, *np.arange(0.25, 7, 0.5), 7]


def test_digits_can_be_fewer_but_not_more_than_there_are():
    assert len(opened("digits", "classification", examples=100).train) == 100
    with pytest.raises(
        DataError, match=r"data.examples: digits has 1437 training examples, not 1438; lower it to 1437"
    ):
        opened("digits", "classification", examples=1438)


def test_a_mask_is_exactly_where_a_digit_was_drawn():
    (digits, labels), _ = digit_splits()
    rng = np.random.default_rng(0)
    for k in range(50):
        canvas, mask = np.zeros((64, 64)), np.zeros((64, 64), np.uint8)
        place(canvas, mask, digits[k], int(labels[k]) + 1, (32, 0), rng)
        assert np.array_equal(canvas > 0, mask > 0)
        assert set(np.unique(mask)) == {0, labels[k] + 1}
        assert canvas[mask > 0].min() >= INK_THRESHOLD / 2
        assert not mask[:32].any()
        assert not mask[:, 32:].any()


def test_a_scene_differs_from_its_background_exactly_inside_the_mask():
    (digits, labels), _ = digit_splits()
    for seed in range(20):
        canvas, mask = make_scene(np.random.default_rng(seed), digits, labels, 64)
        plain = background(np.random.default_rng(seed), 64)
        assert np.array_equal(canvas != plain, mask > 0)
        assert mask.any()


def test_scenes_show_every_class_and_are_normalised():
    dataset = opened("digit_scenes", "segmentation", image_size=64)
    images, masks = everything(dataset.train)
    assert (len(dataset.train), len(dataset.validation)) == (224, 64)
    assert np.unique(masks).tolist() == list(range(11))
    assert images.mean() * scenes_module.STD + scenes_module.MEAN == pytest.approx(scenes_module.MEAN, abs=5e-3)
    assert images.std() == pytest.approx(1, abs=0.02)


def test_validation_scenes_are_made_of_validation_digits_alone(monkeypatch):
    used = {}
    real = scenes_module.place

    def note(canvas, mask, digit, *rest):
        used.setdefault(name, set()).add(digit.tobytes())
        return real(canvas, mask, digit, *rest)

    monkeypatch.setattr(scenes_module, "place", note)
    dataset = opened("digit_scenes", "segmentation", image_size=32)
    for name in ("train", "validation"):
        everything(getattr(dataset, name))
    (train, _), (validation, _) = digit_splits()
    assert used["train"] <= {digit.tobytes() for digit in train}
    assert used["validation"] <= {digit.tobytes() for digit in validation}


def test_a_scene_depends_on_its_index_alone():
    few, many = (opened("digit_scenes", "segmentation", image_size=24, examples=n).train for n in (10, 1_000_000))
    many.read(999_999, None)
    assert np.array_equal(few.read(7, None)[0], many.read(7, None)[0])


def test_scenes_that_are_too_small_are_refused():
    with pytest.raises(
        DataError, match=r"data.image_size: digit_scenes needs at least 24 pixels .* it is 23; raise it"
    ):
        opened("digit_scenes", "segmentation", image_size=23)


def test_a_million_synthetic_images_cost_a_small_pool():
    train = opened("synthetic", "classification", image_size=224, channels=3, examples=1_000_000).train
    images, targets = train.read_many(np.array([0, 999_999]))
    assert len(train) == 1_000_000
    assert images.shape == (2, 224, 224, 3)
    assert train._pool[0].nbytes <= 64 * 2**20
    assert 0 <= targets.min() <= targets.max() < 1000
