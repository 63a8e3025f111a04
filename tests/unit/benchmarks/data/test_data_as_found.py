"""Images and folders as cameras, archives and label tools leave them: read rightly, or refused with what to do."""

import os
import struct
import subprocess
import sys
import unicodedata
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from benchmarks.data import open_dataset
from benchmarks.data.assemble import ValidationItems
from benchmarks.data.dataset import BrokenExample
from benchmarks.data.images import read_image, read_region, whole
from benchmarks.errors import DataError
from horovod_runner.config.settings import DataConfig

CORNERS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255))


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path


def quarters(height=48, width=64):
    """An image whose four corners differ, so that every turn of it can be told."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for number, colour in enumerate(CORNERS):
        rows, columns = divmod(number, 2)
        pixels[rows * height // 2 :][: height // 2, columns * width // 2 :][:, : width // 2] = colour
    return pixels


def opened(root, masks=False):
    name, task = ("mask_folder", "segmentation") if masks else ("image_folder", "classification")
    return open_dataset(DataConfig(name=name, path=str(root), image_size=16, channels=3), task, 0)


def class_folder(root, names=("cat", "dog")):
    for split in ("train", "val"):
        for name in names:
            save(root / split / name / "0.png", quarters())
    return root


def pair_folder(root):
    for split in ("train", "val"):
        save(root / split / "images/0.png", quarters())
        save(root / split / "masks/0.png", np.eye(48, 64, dtype=np.uint8))
    return root


def test_sixteen_bits_keep_their_upper_eight(tmp_path):
    ramp = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    for suffix in ("png", "tif"):
        read = read_image(save(tmp_path / f"x.{suffix}", Image.fromarray(ramp)), 3, 64, whole)
        assert (read == (ramp >> 8)[:, :, None]).all()


def grey_tiff(values, bits, white_is_zero=False):
    """A grey TIFF of 12 or 16 bits a pixel, as microscopes and scanners write it, and Pillow does not."""
    height, width = values.shape
    digits = ((values[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1).astype(np.uint8)
    packed = np.packbits(digits).tobytes() if bits == 12 else values.astype("<u2").tobytes()
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: 0 if white_is_zero else 1}
    tags |= {273: 8, 277: 1, 278: height, 279: len(packed)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize(("bits", "white_is_zero"), [(12, False), (16, False), (16, True)])
def test_black_and_white_of_a_tiff_are_where_it_says(tmp_path, bits, white_is_zero):
    ramp = np.arange(64 * 64).reshape(64, 64) << (bits - 12)
    (tmp_path / "x.tif").write_bytes(grey_tiff(ramp, bits, white_is_zero))
    expected = ramp >> (bits - 8)
    read = read_image(tmp_path / "x.tif", 1, 64, whole)[:, :, 0]
    assert (read == (255 - expected if white_is_zero else expected)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_values_without_a_known_range_are_refused(tmp_path, dtype):
    path = save(tmp_path / "x.tif", Image.fromarray(np.ones((8, 8), dtype)))
    with pytest.raises(BrokenExample, match=r"x\.tif cannot be read: .*save it with 8 or 16 bits"):
        read_image(path, 3, 8, whole)


def test_what_is_transparent_shows_white_paper_without_a_warning(tmp_path):
    loud = np.dstack([quarters(), np.zeros((48, 64), np.uint8)])
    save(tmp_path / "rgba.png", loud)
    save(tmp_path / "la.png", Image.fromarray(loud).convert("LA"))
    save(tmp_path / "p.png", Image.fromarray(quarters()).quantize(4), transparency=bytes(4))
    with warnings.catch_warnings(action="error"):
        for name in ("rgba.png", "la.png", "p.png"):
            assert (read_image(tmp_path / name, 3, 16, whole) == 255).all()


def test_opaque_alpha_changes_nothing(tmp_path):
    opaque = np.dstack([quarters(), np.full((48, 64), 255, np.uint8)])
    with_alpha, without = save(tmp_path / "a.png", opaque), save(tmp_path / "b.png", quarters())
    assert (read_image(with_alpha, 3, 16, whole) == read_image(without, 3, 16, whole)).all()


def test_pillows_remarks_reach_nobody(tmp_path):
    save(tmp_path / "large.png", Image.new("1", (10000, 9000)))
    read = "from pathlib import Path; from benchmarks.data.images import *; read_image(Path('large.png'), 1, 8, whole)"
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    told = subprocess.run([sys.executable, "-c", read], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "avif"])
def test_images_are_turned_as_their_exif_says(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"x.{suffix}", quarters(), exif=exif, quality=95)
    with Image.open(path) as stored:
        upright = ImageOps.exif_transpose(stored).convert("RGB")
    region = read_region(path, 3, 32, lambda w, h: (w / 4, h / 8, w, h))
    w, h = upright.size
    expected = upright.resize((32, 32), Image.Resampling.BILINEAR, box=(w / 4, h / 8, w, h))
    assert region.size == upright.size
    assert np.abs(region.pixels.astype(int) - np.asarray(expected)).mean() < 3


def test_damaged_exif_does_not_cost_the_image(tmp_path):
    path = save(tmp_path / "x.jpg", quarters(), exif=b"Exif\0\0" + struct.pack("<2sHL", b"II", 42, 9999))
    assert read_image(path, 3, 16, whole).shape == (16, 16, 3)


def test_whatever_a_decoder_raises_names_the_file(tmp_path, monkeypatch):
    path = save(tmp_path / "x.png", quarters())
    monkeypatch.setattr(Image.Image, "resize", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("of its own\nkind")))
    with pytest.raises(BrokenExample, match=r"x\.png cannot be read: of its own kind;"):
        read_image(path, 3, 16, whole)


def test_bombs_are_named_and_large_images_are_read(tmp_path):
    bomb = save(tmp_path / "bomb.png", Image.new("1", (15000, 15000)))
    with pytest.raises(BrokenExample, match=r"bomb\.png cannot be read"):
        read_image(bomb, 3, 16, whole)
    large = save(tmp_path / "large.png", Image.new("1", (10000, 9000)))
    assert (read_image(large, 1, 8, whole) == 0).all()


def test_names_that_are_no_utf8_are_written_out(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    path.write_bytes(b"not an image")
    with pytest.raises(BrokenExample, match=r"caf\\xe9\.jpg cannot be read") as caught:
        read_image(path, 3, 16, whole)
    str(caught.value).encode("utf-8")


def test_signs_that_steer_a_terminal_are_written_out(tmp_path):
    path = tmp_path / "two\nlines\x1b[31m – Müller.jpg"
    path.write_bytes(b"not an image")
    with pytest.raises(BrokenExample, match=r"two\\nlines\\x1b\[31m – Müller\.jpg cannot be read"):
        read_image(path, 3, 16, whole)


def test_what_is_no_file_is_no_image(tmp_path):
    """A named pipe would be waited for without end."""
    root = class_folder(tmp_path / "classes")
    os.mkfifo(root / "train/cat/1.png")
    (root / "train/cat/2.png").symlink_to(root / "train/cat/0.png")
    assert list(opened(root).train.files) == ["cat/0.png", "cat/2.png", "dog/0.png"]
    root = pair_folder(tmp_path / "pairs")
    os.mkfifo(root / "train/images/1.png")
    assert len(opened(root, masks=True).train) == 1


def test_classes_are_found_whichever_way_umlauts_are_written(tmp_path):
    """Written in two ways, Müller comes once before and once after another class that begins with M."""
    composed, apart = (unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD"))
    root = class_folder(tmp_path, (composed, "Mzzz"))
    save(root / "val" / composed / "1.png", quarters())
    (root / "val" / composed).rename(root / "val" / apart)
    dataset = opened(root)
    assert [str(name).split("/")[0] for name in dataset.train.files] == ["Mzzz", composed]
    assert [str(name).split("/")[0] for name in dataset.validation.files] == ["Mzzz", apart, apart]
    assert dataset.validation.labels.tolist() == [0, 1, 1]
    save(root / "train" / apart / "0.png", quarters())
    with pytest.raises(DataError, match=r"train holds the class 'Müller' twice, .*; move the images into one"):
        opened(root)


@pytest.mark.parametrize("name", ["Cat", "cat "])
def test_a_class_that_is_almost_there_is_named(tmp_path, name):
    root = class_folder(tmp_path)
    (root / "val/cat").rename(root / "val" / name)
    with pytest.raises(DataError, match=rf"'cat' is in .*train but not in .*val, which has {name!r}; .* the same"):
        opened(root)


def test_images_of_every_suffix_behind_links_and_nothing_that_tools_leave_behind(tmp_path):
    root = class_folder(tmp_path / "data")
    for suffix in ("webp", "bmp", "tif", "jfif", "gif", "JPG"):
        kind = "JPEG" if suffix in ("jfif", "JPG") else None
        save(root / f"train/cat/other.{suffix}", quarters(), format=kind)
    for dropping in (".ipynb_checkpoints/0.png", "@eaDir/0.jpg/thumb.jpg", "__MACOSX/0.png"):
        save(root / "train/dog" / dropping, quarters())
    (root / "train/__MACOSX/cat").mkdir(parents=True)
    save(tmp_path / "elsewhere/deep/1.png", quarters())
    (root / "train/dog/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/deep/round").symlink_to(tmp_path / "elsewhere")
    dataset = opened(root)
    assert np.bincount(dataset.train.labels).tolist() == [7, 2]
    assert "dog/linked/deep/1.png" in dataset.train.files


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("cat",), "only one class, 'cat'.*add folders of other classes"),
        (("images/cat", "images/dog"), "only one class, 'images'.*move their folders up into train/"),
        (("images", "masks"), "not classes; choose workload unet"),
    ],
)
def test_folders_that_tell_nothing_apart_are_refused(tmp_path, names, words):
    with pytest.raises(DataError, match=words):
        opened(class_folder(tmp_path, names))


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ("0_mask.gif", r"if 0_mask\.gif is its mask, convert it to PNG.*call it 0\.png"),
        ("0.png.png", r"if 0\.png\.png is its mask, rename it 0\.png"),
        ("1.png", r"add .*masks/0\.png"),
    ],
)
def test_masks_by_other_names_are_refused_with_what_to_do(tmp_path, mask, words):
    root = pair_folder(tmp_path)
    (root / "train/masks/0.png").rename(root / "train/masks" / mask)
    with pytest.raises(DataError, match=words):
        opened(root, masks=True)


def test_images_in_folders_below_are_refused_with_what_to_do(tmp_path):
    root = pair_folder(tmp_path)
    save(root / "train/images/ulm/0.png", quarters())
    (root / "train/images/0.png").unlink()
    with pytest.raises(DataError, match=r"holds no image but folders \(ulm/\); move the images up"):
        opened(root, masks=True)


def test_masks_are_found_whichever_way_umlauts_are_written(tmp_path):
    root = pair_folder(tmp_path)
    for room, form in (("images", "NFC"), ("masks", "NFD")):
        name = unicodedata.normalize(form, "Müller.png")
        (root / "train" / room / "0.png").rename(root / "train" / room / name)
    assert len(opened(root, masks=True).train) == 1


@pytest.mark.parametrize("drawn", ["upright", "stored"])
def test_masks_of_turned_images_agree_with_them(tmp_path, drawn):
    root, exif = pair_folder(tmp_path), Image.Exif()
    exif[0x0112] = 6
    mask = Image.fromarray((quarters()[:, :, 0] > 128).astype(np.uint8))
    for split in ("train", "val"):
        save(root / split / "images/0.png", quarters(), exif=exif)
        turned = mask.transpose(Image.Transpose.ROTATE_270) if drawn == "upright" else mask
        save(root / split / "masks/0.png", turned)
    image, target = opened(root, masks=True).validation.read(0, None)
    red = image[:, :, 0] * 0.229 + 0.485 > 0.5
    assert (red == target).mean() > 0.95


def grey_png(values, bits):
    """A grey PNG of fewer than eight bits a pixel, which Pillow reads and does not write."""
    places = np.arange(8 // bits) * bits
    packed = (values.reshape(len(values), -1, len(places)) << places[::-1]).sum(axis=2).astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    header = struct.pack(">IIBBBBB", *values.shape[::-1], bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    framed = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


@pytest.mark.parametrize("bits", [2, 4])
def test_masks_of_few_bits_hold_the_numbers_that_were_written(tmp_path, bits):
    """Pillow stretches grey of fewer bits to 255, as is right for images; both are read here."""
    root, numbers = pair_folder(tmp_path), np.arange(48 * 64).reshape(48, 64) % 2**bits
    for split in ("train", "val"):
        (root / split / "masks/0.png").write_bytes(grey_png(numbers, bits))
    dataset = opened(root, masks=True)
    assert dataset.classes == 2**bits
    assert set(np.unique(dataset.validation.read(0, None)[1])) <= set(range(2**bits))
    (tmp_path / "white.png").write_bytes(grey_png(np.full((8, 8), 2**bits - 1), bits))
    white = read_image(tmp_path / "white.png", 1, 8, whole)
    assert (white == 255).all()


def test_masks_saved_as_jpeg_are_refused(tmp_path):
    root = pair_folder(tmp_path)
    save(root / "train/masks/0.png", np.zeros((48, 64), np.uint8), format="JPEG")
    with pytest.raises(DataError, match="is a JPEG file, which changes class numbers"):
        opened(root, masks=True)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_class_names_that_are_no_utf8_are_refused(tmp_path, encoding):
    root = pair_folder(tmp_path)
    (root / "classes.txt").write_bytes("Himmel\nStraße\n".encode(encoding))
    with pytest.raises(DataError, match=r"classes\.txt is not UTF-8 text; save it as UTF-8"):
        opened(root, masks=True)


def masks_of(root, *values, dtype=np.uint8):
    """A folder of pairs, one a value, whose masks hold 0 on their upper half and that value below."""
    for split in ("train", "val"):
        for number, value in enumerate(values):
            mask = np.zeros((48, 64), dtype)
            mask[24:] = value
            save(root / split / "images" / f"{number}.png", quarters())
            save(root / split / "masks" / f"{number}.png", Image.fromarray(mask))
    return root


@pytest.mark.parametrize(
    "values, dtype, words",
    [
        ((128,), np.uint8, r"would have 129 classes, of which only 2 occur \(0, 128\); number the classes 0, 1, 2"),
        ((1, 65535), np.uint16, r"masks/1.png holds the value 65535, which is not a class number; .* 8 bits a pixel"),
        ((1, 300), np.uint16, r"holds the value 300, which is not a class number"),
        ((255,), np.uint8, r"holds the value 255, .* save the foreground of a two-class mask as 1"),
        ((0,), np.uint8, r"the masks have only 1 class"),
    ],
)
def test_class_numbers_that_cannot_be_are_refused_before_anything_is_made_of_them(tmp_path, values, dtype, words):
    with pytest.raises(DataError, match=words):
        opened(masks_of(tmp_path, *values, dtype=dtype), masks=True)


@pytest.mark.parametrize("values, classes", [((1,), 2), ((2,), 3), ((1, 2, 5), 6)])
def test_a_class_that_happens_not_to_occur_is_a_class(tmp_path, values, classes):
    assert opened(masks_of(tmp_path, *values), masks=True).classes == classes


def test_a_name_a_class_allows_numbers_far_apart(tmp_path):
    (masks_of(tmp_path, 128) / "classes.txt").write_text("\n".join(f"class {number}" for number in range(129)))
    assert opened(tmp_path, masks=True).classes == 129


def test_a_mask_that_is_skipped_counts_for_no_class(tmp_path):
    (masks_of(tmp_path, 1, 2) / "train" / "masks" / "1.png").write_bytes(b"no image")
    with pytest.raises(BrokenExample, match=r"train/masks/1.png cannot be read"):
        opened(tmp_path, masks=True)
    data = DataConfig(name="mask_folder", path=str(tmp_path), image_size=16, channels=3, broken="skip")
    assert open_dataset(data, "segmentation", 0).classes == 3


def test_the_only_image_of_a_last_validation_batch_may_be_broken(tmp_path):
    class_folder(tmp_path)
    for number in range(1, 3):
        save(tmp_path / "val" / "cat" / f"{number}.png", quarters())
    (tmp_path / "val" / "dog" / "0.png").write_bytes(b"no image")  # the last of four
    split = opened(tmp_path).validation
    items = ValidationItems(split, local_batch=3, rank=0, workers=1, skip=True)
    assert [weights.tolist() for _, _, weights, _ in (items[0], items[1])] == [[1, 1, 1], [0, 0, 0]]
    [problem] = items[1][3]
    assert "val/dog/0.png cannot be read" in problem


def test_images_that_are_left_out_are_said_with_their_number(tmp_path):
    """A phone's photos, arrays, and images beside the class folders; a text file is none of these."""
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            save(tmp_path / split / name / "0.png", quarters())
    save(tmp_path / "train/loose.png", quarters())
    for name in ("cat/1.HEIC", "cat/deep/2.heic", "dog/3.npy", "dog/notes.txt", "dog/.hidden.heic"):
        (tmp_path / "train" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "train" / name).write_bytes(b"x")
    said = []
    data = DataConfig(name="image_folder", path=str(tmp_path), image_size=16, channels=3)
    dataset = open_dataset(data, "classification", 0, said.append)
    assert len(dataset.train) == 2
    assert said == [
        f"left out of {tmp_path}/train: images 2 .heic, 1 .npy, 1 beside the class folders;"
        " convert or move them to have them read"
    ]


def test_images_in_folders_beside_images_are_not_passed_over(tmp_path):
    for split in ("train", "val"):
        save(tmp_path / split / "images/0.png", quarters())
        save(tmp_path / split / "masks/0.png", (np.arange(48 * 64).reshape(48, 64) % 3).astype(np.uint8))
    data = DataConfig(name="mask_folder", path=str(tmp_path), image_size=16, channels=3)
    (tmp_path / "train/images/notes").mkdir()
    (tmp_path / "train/images/1.heic").write_bytes(b"x")
    said = []
    assert len(open_dataset(data, "segmentation", 0, said.append).train) == 1
    assert said == [f"left out of {tmp_path}/train/images: images 1 .heic; convert or move them to have them read"]
    save(tmp_path / "train/images/ulm/1.png", quarters())
    with pytest.raises(DataError, match=r"images holds images in folders below it \(ulm/\); move the images up"):
        open_dataset(data, "segmentation", 0)
