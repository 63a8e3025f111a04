"""Segmentation masks: PNG files whose values are class indices."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from benchmarks.data.dataset import BrokenExample
from benchmarks.data.images import decoding, readable
from benchmarks.data.progress import Progress, Say, unheard
from benchmarks.data.turns import Box, Turn, turn_of
from benchmarks.errors import DataError
from benchmarks.targets import VOID

INDEX_MODES = ("1", "L", "P", "I", "I;16", "I;16B")
"""Pillow's names for one integer a pixel; in a palette image (P) it is the index that counts, not the colour."""
USUAL_VOID = 255
STRETCHED = {"L;2": 255 // 3, "L;4": 255 // 15}
"""Pillow's names for grey of 2 and 4 bits a pixel, and what it multiplies them by so that the largest is white."""


def read_mask(path: Path, expected: tuple[int, int], turn: Turn) -> np.ndarray:
    """Return a mask's class indices, int32 (height, width), upright.

    Masks are taken to be drawn on the upright image, which is `expected` (width, height); one that has the size of the
    image as it is stored is turned as its image is. BrokenExample if it cannot be read, holds colours, was compressed
    as JPEG, or has neither size.
    """
    with decoding(path), Image.open(path) as mask:
        mode, size, kind, stretched = mask.mode, mask.size, mask.format, _stretched(mask)
        values = np.asarray(mask) // stretched
    named = readable(path)
    if kind in ("JPEG", "MPO"):
        raise BrokenExample(f"{named} is a JPEG file, which changes class numbers; make the mask again, as PNG")
    if mode not in INDEX_MODES:
        raise BrokenExample(
            f"{named} is a {mode} image, but a mask holds one class index a pixel, and colours are not; save it as"
            " 8-bit grey"
        )
    if size == expected:
        return values.astype(np.int32)
    if turn.size(size) == expected:
        return turn.upright(values).astype(np.int32)
    turned = ", turned as its EXIF orientation says" if turn.swaps else ""
    raise BrokenExample(
        f"{named} is {size[0]} x {size[1]} pixels, but its image is {expected[0]} x {expected[1]}{turned};"
        " save the mask in the size of its image"
    )


def _stretched(mask: Image.Image) -> int:
    """Return by what the numbers in a PNG were multiplied to be grey, 1 where they are as they were written."""
    written_as = next((tile[3] for tile in mask.tile), None) if isinstance(mask, PngImagePlugin.PngImageFile) else None
    return STRETCHED.get(str(written_as), 1)


def resize_mask(values: np.ndarray, box: Box, size: int) -> np.ndarray:
    """Return the region `box` of a mask, int32 (size, size): the value of the nearest pixel, never a mixture."""
    image = Image.fromarray(values)
    return np.asarray(image.resize((size, size), Image.Resampling.NEAREST, box=box), dtype=np.int32)


def check_classes(path: Path, values: np.ndarray, classes: int) -> None:
    """Raise BrokenExample if a mask holds an index that is no class; VOID is none and may be there."""
    wrong = values[((values < 0) & (values != VOID)) | (values >= classes)]
    if len(wrong):
        raise BrokenExample(
            f"{readable(path)} holds the value {wrong[0]}, but there are {classes} classes (0 to {classes - 1});"
            f" {_advice(wrong[0])}"
        )


def count_classes(
    root: Path,
    pairs: Sequence[tuple[Path, Path]],
    void: int | None = None,
    skip: bool = False,
    say: Say = unheard,
) -> int:
    """Return the number of classes: the lines of root/classes.txt, or else one more than the largest value of any mask.

    Without classes.txt every mask is read once, by threads; the value `void` is no class, and a mask that is broken
    counts for nothing where it is to be skipped. DataError names a mask that is unreadable, of another size than its
    image, or holds what is no class
    number, or says that there is only background, or that most of the numbers never occur.
    """
    names = root / "classes.txt"
    if names.is_file():
        classes = sum(bool(line.strip()) for line in _text(names).splitlines())
        remedy = f"name at least 2 classes in {names}, one a line"
    else:
        occurring = sorted(_values_of_all(pairs, void, skip, Progress(say)))
        classes = 1 + max(occurring, default=-1)
        remedy = f"name the classes in {names}, one a line, if there are more, or fix the masks"
        if classes > 2 * len(occurring) > 2:
            told = ", ".join(map(str, occurring[:5])) + (", ..." if len(occurring) > 5 else "")
            raise DataError(
                f"{root}: the masks would have {classes} classes, of which only {len(occurring)} occur ({told});"
                f" number the classes 0, 1, 2 and so on, or name all of them in {names}, one a line"
            )
    if classes < 2:
        raise DataError(f"{root}: the masks have only {classes} class; {remedy}")
    return classes


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{readable(file)} is not UTF-8 text; save it as UTF-8") from None


def _values_of_all(pairs: Sequence[tuple[Path, Path]], void: int | None, skip: bool, progress: Progress) -> set[int]:
    found: set[int] = set()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        values = pool.map(lambda pair: _values(pair[0], pair[1], void, skip), pairs)
        for number, values_of_one in enumerate(values, 1):
            found |= values_of_one
            progress(f"looking for classes: {number:,} of {len(pairs):,} masks read")
    return found


def _values(image: Path, mask: Path, void: int | None, skip: bool) -> set[int]:
    """Return the class numbers that occur in a mask; none where it, or its image, cannot be read and is skipped."""
    try:
        with decoding(image), Image.open(image) as header:
            turn = turn_of(header)
            expected = turn.size(header.size)
    except BrokenExample:
        return set()  # the image is what is broken: reading it says so, or skips it
    try:
        found = {int(value) for value in np.unique(read_mask(mask, expected, turn))} - {void}
    except BrokenExample:
        if skip:
            return set()
        raise
    wrong = next((value for value in sorted(found) if value < 0 or value >= USUAL_VOID), None)
    if wrong is not None:
        raise DataError(f"{readable(mask)} holds the value {wrong}, which is not a class number; {_advice(wrong)}")
    return found


def _advice(value: int) -> str:
    if value == USUAL_VOID:
        return "if it marks pixels of no class, set data.void to 255; save the foreground of a two-class mask as 1"
    if value > USUAL_VOID:
        return "class numbers count from 0; save the mask with 8 bits a pixel, 0, 1, 2 and so on"
    return "fix the mask, or name every class in classes.txt"
