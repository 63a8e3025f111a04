"""Listings of large folders, remembered from start to start: a folder that has not changed is not listed anew.

A listing stands for as long as each folder in it has the modification time that it had: a file that comes, goes or is
renamed changes that of the folder which it lies in. What is in a file is none of the listing's business.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from benchmarks.data.names import Names

FORMAT = "1"
Stamp = tuple[int, int]
"""Modification time in ns, and inode."""
SETTLED_SECONDS = 5.0
"""A folder that changed so shortly before it was listed may change again within one tick of its clock."""


@dataclass(frozen=True)
class Listing:
    """The images of one split, class by class: `counts` (classes,) of `names`, relative to the split's folder.

    `folders` holds the stamp of every folder that was read.
    """

    classes: Sequence[str]
    counts: np.ndarray
    names: Names
    folders: Mapping[str, Stamp]


def stamp(folder: str) -> Stamp:
    """Return what changes when a folder's entries do, or another folder takes its place."""
    status = os.stat(folder)
    return status.st_mtime_ns, status.st_ino


def recall(split: Path, rules: str) -> Listing | None:
    """Return what is remembered of a folder, read by these rules; None where nothing is, or it has changed since."""
    file = _file(split, rules)
    if file is None or not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as kept:
            listing = _unpacked(kept)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    return listing if all(_stands(*known) for known in listing.folders.items()) else None


def remember(split: Path, rules: str, listing: Listing) -> None:
    """Keep a listing for the next start, in the user's cache; a cache that cannot be written is done without."""
    file, latest = _file(split, rules), max((moment for moment, _ in listing.folders.values()), default=0)
    if file is None or time.time_ns() - latest < SETTLED_SECONDS * 1e9:
        return
    draft = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("xb") as out:
                np.savez(out, allow_pickle=False, **_packed(listing))
            os.replace(draft, file)
        finally:
            draft.unlink(missing_ok=True)


def _packed(listing: Listing) -> dict[str, np.ndarray]:
    arrays = {"counts": listing.counts, "stamps": np.array(list(listing.folders.values()), np.uint64)}
    for key, names in (("classes", listing.classes), ("names", listing.names), ("folders", list(listing.folders))):
        packed = names if isinstance(names, Names) else Names.of(names)
        arrays |= {key: packed.block, f"{key}_ends": packed.ends}
    return arrays


def _unpacked(kept: Mapping[str, Any]) -> Listing:
    classes, names, folders = (Names(kept[key], kept[f"{key}_ends"]) for key in ("classes", "names", "folders"))
    stamps = ((moment, inode) for moment, inode in kept["stamps"].tolist())
    return Listing(list(classes), kept["counts"], names, dict(zip(folders, stamps, strict=True)))


def _stands(folder: str, known: Stamp) -> bool:
    try:
        return stamp(folder) == known
    except OSError:
        return False


def _file(split: Path, rules: str) -> Path | None:
    """Return the file that a folder's listing is kept in; None for a user without a home."""
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    key = hashlib.sha256(f"{FORMAT} {rules} {split}".encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return base / "horovod-runner" / "listings" / f"{key}.npz"
