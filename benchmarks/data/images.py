"""Image files into arrays: decode, turn upright, crop, resize, normalise; Pillow does its part outside the lock."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from unicodedata import category

import numpy as np
from PIL import Image

from benchmarks.data.dataset import BrokenExample
from benchmarks.data.modes import plain
from benchmarks.data.turns import Box, Turn, turn_of

Choose = Callable[[int, int], Box]
"""(width, height) -> the region of an upright image that is wanted."""

# Every decoding process would say for itself what Pillow thinks of tags and sizes; what matters is raised.
warnings.filterwarnings("ignore", module=r"PIL\.")

STATISTICS: dict[int, tuple[tuple[float, ...], tuple[float, ...]]] = {
    3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    1: ((0.449,), (0.226,)),
}
"""ImageNet's mean and standard deviation per channel, of values from 0 to 1; for grey, the means of those of RGB."""
MODES: dict[int, Literal["RGB", "L"]] = {3: "RGB", 1: "L"}
RATIO = (3 / 4, 4 / 3)
EVALUATION_SHARE = 224 / 256
"""Evaluation resizes the short side to size x 256 / 224 and crops the central size x size: this share of it."""
TRIES = 10
STEERING = ("Cc", "Zl", "Zp")
"""Unicode's categories of control characters and of ends of lines."""


@dataclass(frozen=True)
class Region:
    """The part of an image that was read: uint8 (size, size, channels), and where it lies in the upright image."""

    pixels: np.ndarray
    box: Box
    size: tuple[int, int]
    turn: Turn


def read_image(path: Path, channels: int, size: int, choose: Choose, enlarged: int = 1) -> np.ndarray:
    """Return the pixels of `read_region`."""
    return read_region(path, channels, size, choose, enlarged).pixels


def read_region(path: Path, channels: int, size: int, choose: Choose, enlarged: int = 1) -> Region:
    """Read the chosen region of an image, turned as its EXIF says, resized bilinearly with antialiasing.

    JPEG is decoded at 1/2, 1/4 or 1/8 where that still leaves `enlarged` times the pixels needed along each side.
    BrokenExample names a file that cannot be read.
    """
    with contextlib.ExitStack() as stack:
        with decoding(path):
            image = stack.enter_context(Image.open(path))
            turn = turn_of(image)
        upright = turn.size(image.size)
        box = choose(*upright)
        with decoding(path):
            pixels = _decode(image, MODES[channels], turn.stored_box(box, upright), size, enlarged)
    return Region(turn.upright(pixels.reshape(size, size, channels)), box, upright, turn)


def _decode(image: Image.Image, mode: Literal["RGB", "L"], box: Box, size: int, enlarged: int) -> np.ndarray:
    """Return a region of the stored image, uint8 (size, size) or (size, size, 3)."""
    width, height = image.size
    image.draft(mode, _draft_size(width, height, box, size * enlarged))
    region = _scaled(box, image.size[0] / width, image.size[1] / height, image.size)
    return np.asarray(plain(image, mode).resize((size, size), Image.Resampling.BILINEAR, box=region))


@contextlib.contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Turn what a decoder raises into BrokenExample: each format's library has exceptions of its own.

    Nothing but Pillow may run inside, for a mistake of ours would look like a broken file.
    """
    try:
        yield
    except (BrokenExample, MemoryError):
        raise
    except Exception as error:
        raise BrokenExample(_broken(path, error)) from None


def normalise(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Turn uint8 (..., channels) into float32 with ImageNet's statistics."""
    mean, std = (np.array(values, np.float32) for values in STATISTICS[channels])
    scaled = np.multiply(pixels, 1 / (255 * std), dtype=np.float32)
    return np.subtract(scaled, mean / std, out=scaled)


def whole(width: int, height: int) -> Box:
    """Choose all of an image."""
    return 0, 0, width, height


def centre(width: int, height: int) -> Box:
    """Choose the central square of the standard evaluation."""
    side = min(width, height) * EVALUATION_SHARE
    left, upper = (width - side) / 2, (height - side) / 2
    return left, upper, left + side, upper + side


def random_region(rng: np.random.Generator, scale: tuple[float, float]) -> Choose:
    """Choose a random region: a share of the area from `scale` and an aspect ratio from 3/4 to 4/3 (Szegedy et al.,
    2015).

    As in torchvision's RandomResizedCrop, after ten tries that do not fit it is the largest central one that does.
    """

    def choose(width: int, height: int) -> Box:
        """Choose one of them."""
        for _ in range(TRIES):
            area = width * height * rng.uniform(*scale)
            ratio = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                left, upper = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
                return left, upper, left + w, upper + h
        return _central(width, height)

    return choose


def _central(width: int, height: int) -> Box:
    w = min(width, height * RATIO[1])
    h = min(height, width / RATIO[0])
    return (width - w) / 2, (height - h) / 2, (width + w) / 2, (height + h) / 2


def _draft_size(width: int, height: int, box: Box, size: int) -> tuple[int, int]:
    """Return the smallest size of the whole image at which the region still has `size` pixels a side."""
    left, upper, right, lower = box
    return math.ceil(width * size / (right - left)), math.ceil(height * size / (lower - upper))


def _scaled(box: Box, x: float, y: float, size: tuple[int, int]) -> Box:
    left, upper, right, lower = box
    return left * x, upper * y, min(right * x, size[0]), min(lower * y, size[1])


def _broken(path: Path, error: BaseException) -> str:
    """Name the file, what is wrong and the remedy; Pillow's own message repeats the path, ours does not."""
    reason = "it is not an image that can be recognised" if "cannot identify" in str(error) else str(error)
    reason = error.strerror or reason if isinstance(error, OSError) else reason
    reason = " ".join(reason.split()).rstrip(".") or type(error).__name__
    return f"{readable(path)} cannot be read: {reason}; replace or remove the file, or set data.broken to skip"


def readable(path: Path | str) -> str:
    """Return a path that can be printed anywhere, on one line: bytes of its name that are no UTF-8 are written out, as
    \\xe9, and so are signs that steer a terminal.
    """
    text = str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(sign.encode("unicode_escape").decode() if category(sign) in STEERING else sign for sign in text)
