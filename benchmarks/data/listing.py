"""What a user's folder holds, checked before a run starts: every mistake ends in one sentence with its remedy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from benchmarks.errors import DataError

SPLITS = ("train", "val")
IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png"))


def list_classes(root: Path) -> tuple[list[str], dict[str, dict[str, list[str]]]]:
    """Return the classes, sorted by name, and for each split the paths of each class's images relative to the split.

    The layout is ImageNet's: train/<class>/* and val/<class>/*, at any depth below the class. DataError names the
    folder that is missing or empty, or a class that is in one split only.
    """
    layout = "put images at train/<class>/ and val/<class>/"
    found: dict[str, dict[str, list[str]]] = {
        split: {name: [] for name in _class_names(_folder(root, split, layout))} for split in SPLITS
    }
    _same_classes(root, found)
    for split, classes in found.items():
        for name, files in classes.items():
            files.extend(_images_below(root / split, name))
            if not files:
                raise DataError(
                    f"{root / split / name} holds no JPEG or PNG image;"
                    " add some, or remove the class from train/ and val/"
                )
    return sorted(found["train"]), found


def list_pairs(root: Path) -> dict[str, list[tuple[Path, Path]]]:
    """Return for each split the images and their masks: <split>/images/<stem>.* and <split>/masks/<stem>.png.

    DataError names the folder that is missing or empty, or an image without a mask; a mask without an image is left
    alone.
    """
    layout = "put images at train/images/ and val/images/ and masks of the same names at train/masks/ and val/masks/"
    return {split: _split_pairs(_folder(root, split, layout), layout) for split in SPLITS}


def _folder(parent: Path, name: str, layout: str) -> Path:
    if not parent.is_dir():
        what = "is not a folder" if parent.exists() else "does not exist"
        raise DataError(f"data.path: the folder {parent} {what}; name one that holds train/ and val/")
    folder = parent / name
    if not folder.is_dir():
        raise DataError(f"data.path: {parent} has no folder {name}/; {layout}")
    return folder


def _class_names(split: Path) -> list[str]:
    names = sorted(entry.name for entry in _entries(split) if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise DataError(f"data.path: {split} has no class folders; put images at {split.name}/<class>/")
    return names


def _same_classes(root: Path, found: Mapping[str, Mapping[str, object]]) -> None:
    for here, there in (SPLITS, SPLITS[::-1]):
        extra = sorted(found[here].keys() - found[there].keys())
        if extra:
            more = f" (and {len(extra) - 1} more)" if len(extra) > 1 else ""
            raise DataError(
                f"data.path: the class {extra[0]!r}{more} is in {root / here} but not in {root / there};"
                " both must hold the same classes"
            )


def _images_below(split: Path, name: str) -> list[str]:
    """Return the images of a class, sorted; hidden files and other kinds of files are left alone."""
    paths = [
        os.path.relpath(os.path.join(folder, file), split)
        for folder, _, files in os.walk(split / name, onerror=_unreadable)
        for file in files
        if _is_image(file)
    ]
    return sorted(paths)


def _split_pairs(split: Path, layout: str) -> list[tuple[Path, Path]]:
    images, masks = _folder(split, "images", layout), _folder(split, "masks", layout)
    names = sorted(entry.name for entry in _entries(images) if _is_image(entry.name))
    if not names:
        raise DataError(f"{images} holds no JPEG or PNG image; {layout}")
    known = {
        Path(entry.name).stem: Path(entry.path) for entry in _entries(masks) if entry.name.lower().endswith(".png")
    }
    for name in names:
        if Path(name).stem not in known:
            raise DataError(
                f"{images / name} has no mask; add {masks / (Path(name).stem + '.png')}, or remove the image"
            )
    return [(images / name, known[Path(name).stem]) for name in names]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(folder))
    except OSError as error:
        _unreadable(error)
        raise


def _unreadable(error: OSError) -> None:
    raise DataError(f"data.path: {error.filename} cannot be listed: {error.strerror}; allow reading it") from None


def _is_image(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
