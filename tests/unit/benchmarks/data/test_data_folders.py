"""The user's folders: what is read from them, and one clear sentence for everything that can be wrong with them."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from benchmarks.data import open_dataset
from benchmarks.data.dataset import BrokenExample
from benchmarks.data.images import STATISTICS, centre, normalise, random_region, read_image, whole
from benchmarks.data.masks import resize_mask
from benchmarks.errors import DataError
from benchmarks.targets import VOID
from horovod_runner.config.settings import DataConfig


def save(path, pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def noise(seed: int, width: int = 48, height: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3))


@pytest.fixture
def images(tmp_path):
    """Two classes of two training images and one validation image each."""
    for number, name in enumerate(("b/0.png", "b/1.JPEG", "a/deep/0.jpg", "a/1.png")):
        save(tmp_path / "train" / name, noise(number))
    for name in ("a/0.png", "b/0.png"):
        save(tmp_path / "val" / name, noise(9))
    (tmp_path / "train/a/notes.txt").write_text("not an image")
    (tmp_path / "train/a/.hidden.png").write_text("not an image")
    return tmp_path


@pytest.fixture
def masked(tmp_path):
    """Two training pairs and one for validation, with classes 0 to 2."""
    for split, count in (("train", 2), ("val", 1)):
        for k in range(count):
            save(tmp_path / split / f"images/{k}.jpg", noise(k))
            save(tmp_path / split / f"masks/{k}.png", np.random.default_rng(k).integers(0, 3, (40, 48)))
    return tmp_path


def open_images(path, **settings):
    settings = {"image_size": 16, "channels": 3, **settings}
    return open_dataset(DataConfig(name="image_folder", path=str(path), **settings), "classification", 0)


def open_masked(path, **settings):
    settings = {"image_size": 16, "channels": 3, **settings}
    return open_dataset(DataConfig(name="mask_folder", path=str(path), **settings), "segmentation", 0)


def refused(opening, path, *words) -> None:
    with pytest.raises(DataError) as caught:
        opening(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    for word in words:
        assert re.search(word, sentence), sentence


def test_classes_are_sorted_by_name_in_both_splits(images):
    dataset = open_images(images)
    assert dataset.classes == 2
    assert dataset.train.files == ["a/1.png", "a/deep/0.jpg", "b/0.png", "b/1.JPEG"]
    assert dataset.train.labels.tolist() == [0, 0, 1, 1]
    assert dataset.validation.labels.tolist() == [0, 1]


@pytest.mark.parametrize("channels", [1, 3])
def test_images_have_the_shape_and_type_that_is_promised(images, channels):
    train = open_images(images, channels=channels).train
    image, label = train.read(1, np.random.default_rng(0))
    assert (image.shape, image.dtype) == ((16, 16, channels), np.float32)
    assert (np.shape(label), label.dtype) == ((), np.int32)


def test_evaluation_takes_the_central_seven_eighths_of_the_short_side(tmp_path):
    pixels = np.zeros((256, 320, 3), np.uint8)
    pixels[16:240, 48:272] = 255
    save(tmp_path / "x.png", pixels)
    assert (read_image(tmp_path / "x.png", 3, 224, centre) == 255).all()


def test_normalising_uses_imagenets_statistics():
    for channels, (mean, std) in STATISTICS.items():
        pixels = np.full((2, 2, channels), 51, np.uint8)
        assert np.allclose(normalise(pixels, channels), (0.2 - np.array(mean)) / np.array(std), atol=1e-6)


def test_augmentation_follows_its_generator_and_evaluation_has_none(images):
    train = open_images(images).train
    first, same, other = (train.read(0, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    assert first.tobytes() == same.tobytes()
    assert first.tobytes() != other.tobytes()
    plain = open_images(images, augment=False).train
    assert plain.read(0, np.random.default_rng(1))[0].tobytes() == train.read(0, None)[0].tobytes()


def test_half_of_the_training_images_are_flipped(images, monkeypatch):
    ramp = np.tile(np.arange(48)[None, :, None] * 5, (40, 1, 3))
    save(images / "train/a/1.png", ramp)
    train = open_images(images).train
    rising = sum(np.diff(train.read(0, np.random.default_rng(s))[0][:, :, 0].mean(0)).mean() > 0 for s in range(200))
    assert 70 < rising < 130


@pytest.mark.parametrize(("width", "height"), [(500, 375), (64, 64), (30, 400)])
def test_random_regions_lie_inside_with_the_areas_and_ratios_asked_for(width, height):
    for seed in range(200):
        left, upper, right, lower = random_region(np.random.default_rng(seed), (0.08, 1.0))(width, height)
        assert 0 <= left < right <= width
        assert 0 <= upper < lower <= height
        assert 0.7 < (right - left) / (lower - upper) < 1.4
        if width != 30:
            assert 0.07 < (right - left) * (lower - upper) / (width * height) <= 1


def test_a_fast_jpeg_decode_shows_the_same_region(tmp_path):
    smooth = Image.fromarray(noise(0, 8, 6).astype(np.uint8)).resize((800, 600), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "x.jpg", quality=95)
    smooth.save(tmp_path / "x.png")
    box = (100, 50, 700, 550)
    fast, exact = (read_image(tmp_path / name, 3, 60, lambda w, h: box) for name in ("x.jpg", "x.png"))
    assert np.abs(fast.astype(int) - exact).mean() < 3


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_other_kinds_of_images_are_converted(tmp_path, mode):
    name = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    Image.fromarray(noise(0).astype(np.uint8)).convert(mode).save(name)
    assert read_image(name, 3, 8, whole).shape == (8, 8, 3)
    assert read_image(name, 1, 8, whole).shape == (8, 8, 1)


def test_masks_follow_their_images_through_crop_and_flip(masked):
    """An image whose red value is 100 times its class stays so, whatever the augmentation, away from class borders."""
    classes = np.repeat(np.repeat(np.random.default_rng(0).integers(0, 3, (5, 6)), 64, axis=0), 64, axis=1)
    save(masked / "train/masks/0.png", classes)
    (masked / "train/images/0.jpg").unlink()
    save(masked / "train/images/0.png", np.repeat(classes[:, :, None] * 100, 3, axis=2))
    train = open_masked(masked, image_size=64).train
    seen = set()
    for seed in range(20):
        image, target = train.read(0, np.random.default_rng(seed))
        red = (image[:, :, 0] * 0.229 + 0.485) * 255 / 100
        assert (np.abs(red - target) < 0.5).mean() > 0.97
        seen.add(target.tobytes())
    assert len(seen) == 20
    assert (target.dtype, target.shape) == (np.int32, (64, 64))


def test_a_resized_mask_holds_no_mixtures():
    values = np.array([[0, 7], [7, 0]], np.int32)
    assert np.unique(resize_mask(values, (0, 0, 2, 2), 9)).tolist() == [0, 7]


def test_classes_are_counted_from_the_masks_or_named_in_a_file(masked):
    assert open_masked(masked).classes == 3
    (masked / "classes.txt").write_text("sky\nsea\nland\nship\n")
    assert open_masked(masked).classes == 4


def test_palette_masks_count_by_index(masked):
    mask = Image.fromarray(np.full((40, 48), 2, np.uint8))
    mask.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    mask.save(masked / "val/masks/0.png")
    assert (open_masked(masked).validation.read(0, None)[1] == 2).all()


def test_folders_that_are_missing_or_empty(images, tmp_path):
    refused(open_images, tmp_path / "nowhere", "nowhere does not exist", "name one that holds train/ and val/")
    refused(open_images, images / "train/a/notes.txt", "is not a folder")
    (images / "val/a/0.png").unlink()
    refused(open_images, images, "val/a holds no image", "add some, or remove")
    shutil.rmtree(images / "val/a")
    refused(open_images, images, "class 'a' is in .*train but not in .*val", "must hold the same classes")
    shutil.rmtree(images / "val")
    refused(open_images, images, "has no folder val/", "put images at train/<class>/ and val/<class>/")
    shutil.rmtree(images / "train")
    refused(open_images, images, "has no folder train/")
    (images / "train").mkdir()
    (images / "val").mkdir()
    refused(open_images, images, "train has no class folders", "put images at train/<class>/")


def test_a_class_in_validation_alone_is_refused(images):
    save(images / "val/c/0.png", noise(0))
    refused(open_images, images, "class 'c' is in .*val but not in .*train")


def test_mask_folders_that_are_incomplete(masked):
    (masked / "train/masks/1.png").rename(masked / "train/masks/2.png")
    refused(open_masked, masked, r"train/images/1.jpg has no mask; add .*train/masks/1.png")
    shutil.rmtree(masked / "train/masks")
    refused(open_masked, masked, "has no folder masks/", "put images at train/images/")
    (masked / "val/images/0.jpg").unlink()
    save(masked / "train/masks/0.png", np.zeros((40, 48)))
    save(masked / "train/masks/1.png", np.zeros((40, 48)))
    refused(open_masked, masked, "val/images holds no image")


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.zeros((40, 47)), "val/masks/0.png is 47 x 40 pixels, but its image is 48 x 40; save the mask in the size"),
        (
            np.full((40, 48), 255),
            "val/masks/0.png holds the value 255, which is not a class number; .* set data.void to 255; .* as 1",
        ),
        (
            np.zeros((40, 48, 3)),
            "val/masks/0.png is a RGB image, but a mask holds one class index a pixel, and colours",
        ),
    ],
    ids=["size", "void", "colour"],
)
def test_masks_that_are_wrong(masked, mask, words):
    save(masked / "val/masks/0.png", mask)
    refused(open_masked, masked, words)
    (masked / "classes.txt").write_text("a\nb\nc\n")
    with pytest.raises(BrokenExample, match=words.split(",")[0]):
        open_masked(masked).validation.read(0, None)


def test_masks_of_nothing_but_background_are_refused(masked):
    for path in masked.glob("*/masks/*.png"):
        save(path, np.zeros((40, 48)))
    refused(open_masked, masked, "the masks have only 1 class; name the classes in .*classes.txt")


def test_a_value_beyond_the_named_classes_is_refused_when_it_is_read(masked):
    (masked / "classes.txt").write_text("a\nb\n")
    with pytest.raises(BrokenExample, match=r"holds the value 2, but there are 2 classes \(0 to 1\); fix the mask"):
        open_masked(masked).train.read(0, None)


@pytest.mark.parametrize("damage", [b"", b"not an image", "half"], ids=["empty", "text", "cut short"])
@pytest.mark.parametrize("name", ["b/0.png", "b/1.JPEG"])
def test_a_broken_image_is_named(images, name, damage):
    path = images / "train" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if damage == "half" else damage)
    train = open_images(images).train
    with pytest.raises(BrokenExample, match=f"{re.escape(str(path))} cannot be read: .*; replace or remove the file"):
        train.read(train.files.index(name), None)


def test_an_image_that_vanished_is_named(images):
    train = open_images(images).train
    (images / "train/a/1.png").unlink()
    with pytest.raises(BrokenExample, match=r"a/1.png cannot be read: No such file or directory; replace"):
        train.read(0, None)


def test_a_folder_is_never_read_in_part(images):
    with pytest.raises(DataError, match=r"data.examples: image_folder reads every image of its folder; remove"):
        open_images(images, examples=2)


def test_void_is_no_class_and_stays_void_through_crop_and_flip(masked):
    """A corner of 255 in a mask; class 1 of digit scenes."""
    values = np.ones((40, 48), np.uint8)
    values[:20, :24] = 255
    save(masked / "train/masks/0.png", values)
    refused(open_masked, masked, "holds the value 255", "set data.void to 255")
    opened = open_masked(masked, void=255)
    assert opened.classes == 3
    _, target = opened.train.read(0, None)
    assert (target[:8, :8] == VOID).all()
    assert (target == VOID).mean() == pytest.approx(0.25)
    seen = {int(v) for seed in range(20) for v in np.unique(opened.train.read(0, np.random.default_rng(seed))[1])}
    assert seen == {VOID, 1}
    (masked / "classes.txt").write_text("a\nb\nc\n")
    assert (open_masked(masked, void=255).train.read(0, None)[1] == target).all()


def test_a_class_of_digit_scenes_can_be_void():
    plain, void = (
        open_dataset(DataConfig(name="digit_scenes", image_size=32, void=value), "segmentation", 0)
        for value in (None, 3)
    )
    numbers = np.arange(20)
    images, targets = plain.train.read_many(numbers)
    voided, masks = void.train.read_many(numbers)
    assert (targets == 3).any()
    assert np.array_equal(masks, np.where(targets == 3, VOID, targets))
    assert np.array_equal(images, voided)
    assert np.array_equal(void.train.read(4, None)[1], masks[4])
