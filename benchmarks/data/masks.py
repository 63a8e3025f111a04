"""Segmentation masks: PNG files whose values are class indices."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.data.dataset import BrokenExample
from benchmarks.data.images import UNREADABLE, Box
from benchmarks.errors import DataError

INDEX_MODES = ("1", "L", "P", "I", "I;16")
"""Pillow's names for one integer a pixel; in a palette image (P) it is the index that counts, not the colour."""
VOID = 255


def read_mask(path: Path, expected: tuple[int, int]) -> np.ndarray:
    """Return a mask's class indices, int32 (height, width).

    BrokenExample if it cannot be read, is a colour image, or is not `expected` (width, height) as its image is.
    """
    try:
        with Image.open(path) as mask:
            mode, size = mask.mode, mask.size
            values = np.asarray(mask)
    except UNREADABLE as error:
        raise BrokenExample(f"{path} cannot be read: {error}; replace it or remove it with its image") from None
    if mode not in INDEX_MODES:
        raise BrokenExample(
            f"{path} is a {mode} image, but a mask holds one class index a pixel; save it as 8-bit grey"
        )
    if size != expected:
        raise BrokenExample(
            f"{path} is {size[0]} x {size[1]} pixels, but its image is {expected[0]} x {expected[1]};"
            " save the mask in the size of its image"
        )
    return values.astype(np.int32)


def resize_mask(values: np.ndarray, box: Box, size: int) -> np.ndarray:
    """Return the region `box` of a mask, int32 (size, size): the value of the nearest pixel, never a mixture."""
    image = Image.fromarray(values)
    return np.asarray(image.resize((size, size), Image.Resampling.NEAREST, box=box), dtype=np.int32)


def check_classes(path: Path, values: np.ndarray, classes: int) -> None:
    """Raise BrokenExample if a mask holds an index that is no class."""
    wrong = values[(values < 0) | (values >= classes)]
    if len(wrong):
        raise BrokenExample(
            f"{path} holds the value {wrong[0]}, but there are {classes} classes (0 to {classes - 1});"
            f" {_advice(wrong[0])}"
        )


def count_classes(root: Path, pairs: Sequence[tuple[Path, Path]]) -> int:
    """Return the number of classes: the lines of root/classes.txt, or else one more than the largest value of any mask.

    Without classes.txt every mask is read once, by threads. DataError names a mask that is unreadable, of another size
    than its image, or holds 255 (void), or says that there is only background.
    """
    names = root / "classes.txt"
    if names.is_file():
        classes = sum(bool(line.strip()) for line in names.read_text(encoding="utf-8").splitlines())
        remedy = f"name at least 2 classes in {names}, one a line"
    else:
        classes = 1 + max(_largest_values(pairs))
        remedy = f"name the classes in {names}, one a line, if there are more, or mend the masks"
    if classes < 2:
        raise DataError(f"{root}: the masks have only {classes} class; {remedy}")
    return classes


def _largest_values(pairs: Sequence[tuple[Path, Path]]) -> Iterator[int]:
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        yield from pool.map(_largest_value, pairs)


def _largest_value(pair: tuple[Path, Path]) -> int:
    image, mask = pair
    try:
        with Image.open(image) as header:
            expected = header.size
    except UNREADABLE:
        return 0  # the image is what is broken: reading it says so, or skips it
    largest = int(read_mask(mask, expected).max())
    if largest == VOID:
        raise DataError(f"{mask} holds the value {VOID}, which is no class; {_advice(VOID)}")
    return largest


def _advice(value: int) -> str:
    if value == VOID:
        return "give void pixels a class of their own, and save the foreground of a two-class mask as 1"
    return "mend the mask, or name every class in classes.txt"
