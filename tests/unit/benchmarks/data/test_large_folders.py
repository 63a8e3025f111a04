"""Folders of a million files: names in little memory, listings that are remembered, and progress that is told."""

import os
import pickle
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.data import listing, open_dataset
from benchmarks.data.names import Names
from benchmarks.data.progress import Progress
from horovod_runner.config.settings import DataConfig


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of links to one image, of which every listing is worth remembering, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(listing, "REMEMBERED", 1)
    root = tmp_path / "data"
    root.mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(root / "one.jpg")
    for split, count in (("train", 3), ("val", 1)):
        for name in ("cat", "dog"):
            (root / split / name / "deep").mkdir(parents=True)
            for number in range(count):
                (root / split / name / "deep" / f"{number}.jpg").symlink_to(root / "one.jpg")
    _age(root)
    return root


def _age(root: Path) -> None:
    """Let a folder have changed a while ago: what changed just now is not remembered."""
    for path in (root, *root.rglob("*")):
        if path.is_dir():
            os.utime(path, (time.time() - 3600, time.time() - 3600))


def _files(root: Path) -> list[str]:
    data = DataConfig(name="image_folder", path=str(root), image_size=8, channels=3)
    return list(open_dataset(data, "classification", 0).train.files)


def _listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return where the folders that are read from now on are noted."""
    read, entries = [], listing._entries
    monkeypatch.setattr(listing, "_entries", lambda folder: read.append(str(folder)) or entries(folder))
    return read


def test_a_folder_that_has_not_changed_is_not_listed_anew(folder, monkeypatch):
    first = _files(folder)
    assert first == [f"{name}/deep/{n}.jpg" for name in ("cat", "dog") for n in range(3)]
    read = _listed(monkeypatch)
    assert _files(folder) == first
    assert {Path(path).name for path in read} <= {"train", "val"}


@pytest.mark.parametrize("change", ["came", "went", "renamed", "another class", "other rules"])
def test_whatever_changes_is_seen(folder, monkeypatch, change):
    first = _files(folder)
    deep = folder / "train/dog/deep"
    if change == "came":
        (deep / "3.jpg").symlink_to(folder / "one.jpg")
    if change == "went":
        (deep / "2.jpg").unlink()
    if change == "renamed":
        (deep / "2.jpg").rename(deep / "9.jpg")
    if change == "another class":
        for split in ("train", "val"):
            shutil.copytree(folder / split / "dog", folder / split / "cow", symlinks=True)
    if change == "other rules":
        monkeypatch.setattr(listing, "RULES", ".jpg")
        assert _files(folder) == first
        read = _listed(monkeypatch)
        monkeypatch.setattr(listing, "RULES", ".jpg .png")
        assert _files(folder) == first
        assert any("deep" in path for path in read)
        return
    assert _files(folder) != first
    assert _files(folder) == sorted(str(p.relative_to(folder / "train")) for p in (folder / "train").rglob("*.jpg"))


def test_a_folder_that_has_just_changed_is_not_remembered(folder, tmp_path):
    (folder / "train/dog/deep/3.jpg").symlink_to(folder / "one.jpg")
    _files(folder)
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 1, "val/ alone is remembered"


@pytest.mark.parametrize("damage", [b"", b"not a listing", b"PK\x03\x04 cut short"])
def test_a_damaged_memory_is_done_without(folder, tmp_path, damage):
    first = _files(folder)
    for file in (tmp_path / "cache").rglob("*.npz"):
        file.write_bytes(damage)
    assert _files(folder) == first


def test_a_cache_that_cannot_be_written_is_done_without(folder, monkeypatch):
    first = _files(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert _files(folder) == first


def test_names_are_what_they_were_in_little_memory():
    names = [f"n{number:08}/ü{number}.JPEG" for number in range(10_000)] + ["\udce9.png", ""]
    packed = Names.joined([Names.of(names[:5000]), Names.of([]), Names.of(names[5000:])])
    assert (packed == names, len(packed), packed[-2], packed[1:3]) == (True, 10_002, "\udce9.png", names[1:3])
    assert pickle.loads(pickle.dumps(packed)) == names
    with pytest.raises(IndexError):
        packed[10_002]
    assert packed.block.nbytes + packed.ends.nbytes < 40 * len(names)


def test_progress_is_said_now_and_then_and_never_of_what_is_over_in_a_moment():
    now, said = [0.0], []
    progress = Progress(said.append, lambda: now[0])
    for second in (0.5, 1.9, 2.5, 3.0, 7.4, 7.6):
        now[0] = second
        progress(f"{second}")
    assert said == ["2.5", "7.6"]
