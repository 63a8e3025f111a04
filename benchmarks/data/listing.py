"""What a user's folder holds, checked before a run starts: every mistake ends in one sentence with its remedy."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.data.images import readable
from benchmarks.data.names import Names
from benchmarks.data.progress import Progress, Say, unheard
from benchmarks.data.remembered import Listing, Stamp, recall, remember, stamp
from benchmarks.errors import DataError

SPLITS = ("train", "val")
# fmt: off
IMAGE_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif",
    ".jp2", ".j2k", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".tga",
))
UNREADABLE_SUFFIXES = frozenset((
    ".heic", ".heif", ".jxl", ".svg", ".psd", ".exr", ".hdr", ".dcm", ".npy",
    ".raw", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2",
))
# fmt: on
"""Images, or what people keep them in, that nothing here decodes: they are left out, and that is said."""
DROPPINGS = frozenset(("__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found", "system volume information"))
"""Folders that archives, thumbnailers and systems leave behind, in lower case; hidden ones begin with a dot."""
RULES = " ".join([*sorted(IMAGE_SUFFIXES), *sorted(UNREADABLE_SUFFIXES), *sorted(DROPPINGS)])
"""What a listing depends on beside the folder."""
THREADS = 16
"""More than cores: what takes time is a file system's answer."""
REMEMBERED = 10_000
"""Images from which a listing is worth remembering."""


def list_classes(root: Path, say: Say = unheard) -> dict[str, Listing]:
    """Return for each split the classes, sorted by name, and each class's images relative to the split.

    The layout is ImageNet's: train/<class>/* and val/<class>/*, at any depth below the class. A large folder is listed
    by many threads, says how far it has come, and is remembered. DataError names the folder that is missing or empty,
    or a class that is in one split only; `say` is told of images that are left out.
    """
    layout = "put images at train/<class>/ and val/<class>/"
    names = {split: _class_names(_folder(root, split, layout)) for split in SPLITS}
    _same_classes(root, names)
    train, val = (names[split] for split in SPLITS)
    places = {_composed(name): place for place, name in enumerate(train)}
    val.sort(key=lambda name: places[_composed(name)])
    _require_several(root / "train", names["train"])
    return {split: _listed(root / split, names[split], say) for split in SPLITS}


def _listed(split: Path, classes: list[str], say: Say) -> Listing:
    """Return all images of a split, as they were remembered or as they are found."""
    known = recall(split, RULES)
    if known is not None and known.classes == classes:
        return known
    counts, names, folders, progress = [], [], {str(split): stamp(str(split))}, Progress(say)
    left_out = Counter({"beside the class folders": sum(_is_image(e.name) and e.is_file() for e in _entries(split))})
    with ThreadPoolExecutor(THREADS) as pool:
        for name, found in zip(classes, pool.map(partial(_images_below, split), classes), strict=True):
            if not found.images:
                raise DataError(
                    f"{split / name} holds no image that can be read; add some, or remove the class from both splits"
                )
            counts.append(len(found.images))
            names.append(Names.of(found.images))
            folders |= found.folders
            left_out += found.left_out
            progress(f"listing {split}: {sum(counts):,} images in {len(counts):,} of {len(classes):,} classes")
    listing = Listing(classes, np.array(counts), Names.joined(names), folders)
    if len(listing.names) >= REMEMBERED and not +left_out:  # what is said is said at every start
        remember(split, RULES, listing)
    _say_left_out(split, +left_out, say)
    return listing


def _say_left_out(folder: Path, left_out: Counter[str], say: Say) -> None:
    """Say how many images are not among the data, and why."""
    kinds = [f"{count:,} {what}" for what, count in sorted(left_out.items())]
    if kinds:
        say(f"left out of {readable(folder)}: images {', '.join(kinds)}; convert or move them to have them read")


def list_pairs(root: Path, say: Say = unheard) -> dict[str, list[tuple[Path, Path]]]:
    """Return for each split the images and their masks: <split>/images/<stem>.* and <split>/masks/<stem>.png.

    DataError names the folder that is missing or empty, images in folders below, or an image without a mask; a mask
    without an image is left alone. `say` is told of images that are left out.
    """
    layout = "put images at train/images/ and val/images/ and masks of the same names at train/masks/ and val/masks/"
    return {split: _split_pairs(_folder(root, split, layout), layout, say) for split in SPLITS}


def _folder(parent: Path, name: str, layout: str) -> Path:
    if not parent.is_dir():
        what = "is not a folder" if parent.exists() else "does not exist"
        raise DataError(f"data.path: the folder {parent} {what}; name one that holds train/ and val/")
    folder = parent / name
    if not folder.is_dir():
        raise DataError(f"data.path: {parent} has no folder {name}/; {layout}")
    return folder


def _class_names(split: Path) -> list[str]:
    names = sorted(entry.name for entry in _entries(split) if entry.is_dir() and not _left_alone(entry.name))
    if not names:
        raise DataError(f"data.path: {split} has no class folders; put images at {split.name}/<class>/")
    if names == ["images", "masks"]:
        raise DataError(f"data.path: {split} holds images/ and masks/, which are not classes; choose workload unet")
    twice = next((name for name, times in Counter(map(_composed, names)).items() if times > 1), None)
    if twice is not None:
        raise DataError(
            f"data.path: {split} holds the class {twice!r} twice, with its accents written in two ways of Unicode; move"
            " the images into one of the folders, and remove the other"
        )
    return names


def _require_several(split: Path, names: Sequence[str]) -> None:
    if len(names) == 1:
        raise DataError(
            f"data.path: {split} has only one class, {names[0]!r}, and with one there is nothing to learn;"
            f" {_one_class_remedy(split, names[0])}"
        )


def _one_class_remedy(split: Path, name: str) -> str:
    inner = sorted(e.name for e in _entries(split / name) if e.is_dir() and not _left_alone(e.name))
    if len(inner) > 1:
        return f"if {inner[0]}, {inner[1]} below it are the classes, move their folders up into {split.name}/"
    return f"add folders of other classes to {split.name}/"


def _same_classes(root: Path, found: Mapping[str, Sequence[str]]) -> None:
    for here, there in (SPLITS, SPLITS[::-1]):
        others = set(map(_composed, found[there]))
        extra = sorted(name for name in found[here] if _composed(name) not in others)
        if extra:
            more = f" (and {len(extra) - 1} more)" if len(extra) > 1 else ""
            like = next((f", which has {name!r}" for name in found[there] if _loosely(name) == _loosely(extra[0])), "")
            raise DataError(
                f"data.path: the class {extra[0]!r}{more} is in {root / here} but not in {root / there}{like};"
                " both must hold the same classes"
            )


def _composed(name: str) -> str:
    """Return a name as most write it: a Mac writes an umlaut as two characters, others as one."""
    return unicodedata.normalize("NFC", name)


def _loosely(name: str) -> str:
    return _composed(name).casefold().strip()


@dataclass
class _Found:
    """The images below a folder, and the stamps of it and of the folders in it."""

    images: list[str] = field(default_factory=list)
    folders: dict[str, Stamp] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)


def _images_below(split: Path, name: str) -> _Found:
    """Return the images of a class, sorted; hidden files and other kinds of files are left alone."""
    found = _Found()
    _collect(os.fspath(split / name), name, frozenset(), found)
    found.images.sort()
    return found


def _collect(folder: str, relative: str, above: frozenset[tuple[int, int]], found: _Found) -> None:
    """Add the images below a folder; links are followed, but never into a folder that they lie in."""
    status = os.stat(folder)
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    found.folders[folder] = (status.st_mtime_ns, status.st_ino)
    for entry in _entries(folder):
        if _left_alone(entry.name):
            continue
        inner = f"{relative}/{entry.name}"
        # What is called an image is not looked at: a million links would be a million looks at a slow file system.
        if entry.is_dir(follow_symlinks=False) or (not _is_image(entry.name) and entry.is_dir()):
            _collect(entry.path, inner, above | {here}, found)
        elif _is_image(entry.name) and _is_file(entry):
            found.images.append(inner)
        elif (suffix := _unreadable_suffix(entry.name)) is not None:
            found.left_out[suffix] += 1


def _split_pairs(split: Path, layout: str, say: Say) -> list[tuple[Path, Path]]:
    images, masks = _folder(split, "images", layout), _folder(split, "masks", layout)
    names = sorted(entry.name for entry in _entries(images) if _is_image(entry.name) and _is_file(entry))
    folders = sorted(e.name for e in _entries(images) if e.is_dir() and not _left_alone(e.name))
    below = next((folder for folder in folders if _images_below(images, folder).images), None)
    if below is not None:
        what = "images in folders below it" if names else "no image but folders"
        raise DataError(f"{images} holds {what} ({below}/); move the images up into images/, and the masks likewise")
    if not names:
        raise DataError(f"{images} holds no image; {layout}")
    left_out = Counter(suffix for e in _entries(images) if (suffix := _unreadable_suffix(e.name)) is not None)
    _say_left_out(images, left_out, say)
    others = sorted(entry.name for entry in _entries(masks) if not _left_alone(entry.name))
    known = {_stem(name): masks / name for name in others if name.lower().endswith(".png")}
    for name in names:
        if _stem(name) not in known:
            raise DataError(f"{readable(images / name)} has no mask; {_missing_mask(masks, name, others)}")
    return [(images / name, known[_stem(name)]) for name in names]


def _stem(name: str) -> str:
    """Return a name without its suffix."""
    return _composed(Path(name).stem)


def _missing_mask(masks: Path, image: str, others: Sequence[str]) -> str:
    """Return the remedy: how to make the mask of what looks like it, or else to add one."""
    wanted = Path(image).stem + ".png"
    like = next((name for name in others if _stem(name).startswith(_stem(image))), None)
    if like is None:
        return f"add {readable(masks / wanted)}, or remove the image"
    if like.lower().endswith(".png"):
        return f"if {like} is its mask, rename it {wanted} (and the others likewise)"
    return f"if {like} is its mask, convert it to PNG, one class number a pixel, and call it {wanted}"


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(folder))
    except OSError as error:
        _unreadable(error)
        raise


def _unreadable(error: OSError) -> None:
    raise DataError(f"data.path: {error.filename} cannot be listed: {error.strerror}; allow reading it") from None


def _is_image(name: str) -> bool:
    return not _left_alone(name) and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file, or links to what nobody looks at here: a named pipe would be waited for."""
    return entry.is_file(follow_symlinks=False) or entry.is_symlink()


def _unreadable_suffix(name: str) -> str | None:
    """Return the suffix of an image that nothing here decodes, None for any other file."""
    suffix = os.path.splitext(name)[1].lower()
    return suffix if suffix in UNREADABLE_SUFFIXES and not _left_alone(name) else None


def _left_alone(name: str) -> bool:
    return name.startswith(".") or name.lower() in DROPPINGS
