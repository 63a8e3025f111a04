"""Digit scenes: real handwritten digits on noisy canvases, with the class of every pixel known exactly.

Class 0 is the background and class k + 1 the digit k. A scene depends on its index alone, never on the seed of a run,
unless the split is drawn for each seed; training and validation scenes are made of the disjoint digits of
benchmarks/data/digits.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.data.dataset import Dataset, grey_to, side
from benchmarks.data.digits import digit_splits, enlarge, split_seed
from benchmarks.errors import DataError

if TYPE_CHECKING:
    from benchmarks.data.settings import DataSettings

CLASSES = 11
VALIDATION_EXAMPLES = 64
SMALLEST_SIDE = 24
SCENE_SEED = 20150518
INK_THRESHOLD = 0.3
"""Ink below this share of full is not drawn at all, so that whatever is drawn is labelled."""
MEAN = 0.095
"""Mean of training pixels of digit scenes at 64 x 64; checked by a test."""
STD = 0.267
CACHE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Look:
    """What makes scenes hard: how much noise and shading, how often a quarter is empty, how small and faint a digit is,
    and how few of them train unless a run says otherwise.

    `noise` is a standard deviation and `shading` the largest offset, full ink being 1; `smallest` is a share of the
    quarter's side, and `faintest` a percentage of full contrast.
    """

    noise: float = 0.12
    shading: float = 0.25
    occupied: float = 0.65
    smallest: Fraction = Fraction(3, 5)
    faintest: int = 50
    examples: int = 224


DIGIT_SCENES = Look()
PLAIN_SCENES = Look(noise=0.06, shading=0.1, occupied=1.0, smallest=Fraction(4, 5), faintest=80, examples=512)


def open_plain_scenes(data: DataSettings, *, task: str, seed: int) -> Dataset:
    """Open scenes that a small network learns in minutes: four large clear digits each; see `open_digit_scenes`."""
    return open_digit_scenes(data, task=task, seed=seed, look=PLAIN_SCENES)


def open_digit_scenes(data: DataSettings, *, task: str, seed: int, look: Look = DIGIT_SCENES) -> Dataset:
    """Open scenes of data.image_size pixels, data.examples of them for training; DataError if they are too small."""
    size, channels = side(data.image_size, 64), data.channels or 1
    if size < SMALLEST_SIDE:
        raise DataError(
            f"data.image_size: {data.name} needs at least {SMALLEST_SIDE} pixels to place its digits,"
            f" but it is {size}; raise it to {SMALLEST_SIDE} or more"
        )
    train, validation = digit_splits(split_seed(data.split, seed))
    drawn_from = [1, seed] if data.split == "per_seed" else []  # the 1 as in split_seed
    return Dataset(
        train=SceneSplit(*train, data.examples or look.examples, 0, size, channels, drawn_from, look),
        validation=SceneSplit(*validation, VALIDATION_EXAMPLES, 1, size, channels, drawn_from, look),
        classes=CLASSES,
        channels=channels,
        image_size=size,
    )


class SceneSplit:
    """Scenes made when they are first read, and then kept while they fit into CACHE_BYTES."""

    def __init__(
        self,
        pixels: np.ndarray,
        labels: np.ndarray,
        examples: int,
        stream: int,
        image_size: int,
        channels: int,
        drawn_from: Sequence[int] = (),
        look: Look = DIGIT_SCENES,
    ) -> None:
        """Take digits (n, 8, 8) and their labels (n,); `stream` keeps training and validation scenes apart.

        Scenes are drawn from their index and `drawn_from`.
        """
        self._drawn_from, self._look = drawn_from, look
        self._pixels, self._labels = pixels, labels
        self._examples, self._stream = examples, stream
        self._size, self._channels = image_size, channels
        self._cache: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._cache_limit = CACHE_BYTES // (image_size * image_size * 5)

    def __len__(self) -> int:
        return self._examples

    def read(self, index: int, rng: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray]:
        """Return one scene, (size, size, channels), and its classes, (size, size); there is no augmentation."""
        images, masks = self.read_many(np.array([index]))
        return images[0], masks[0]

    def read_many(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return scenes, float32 (n, size, size, channels), and their classes, int32 (n, size, size)."""
        scenes = [self._scene(int(index)) for index in indices]
        canvases = np.stack([canvas for canvas, _ in scenes])
        masks = np.stack([mask for _, mask in scenes]).astype(np.int32)
        return grey_to((canvases - np.float32(MEAN)) / np.float32(STD), self._channels), masks

    def _scene(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        scene = self._cache.get(index)
        if scene is None:
            rng = np.random.default_rng([SCENE_SEED, self._stream, index, *self._drawn_from])
            canvas, mask = make_scene(rng, self._pixels, self._labels, self._size, self._look)
            scene = canvas.astype(np.float32), mask
            if len(self._cache) < self._cache_limit:
                self._cache[index] = scene
        return scene


def make_scene(
    rng: np.random.Generator, pixels: np.ndarray, labels: np.ndarray, size: int, look: Look = DIGIT_SCENES
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one to four digits, one at most in each quarter of a noisy canvas.

    Returns the canvas, float64 (size, size), about 0 to 1, and the class of each pixel, uint8 (size, size).
    """
    canvas, mask = background(rng, size, look), np.zeros((size, size), np.uint8)
    occupied = rng.random(4) < look.occupied
    occupied[rng.integers(4)] = True
    for quarter in np.flatnonzero(occupied):
        which = rng.integers(len(labels))
        corner = (int(quarter) // 2 * (size // 2), int(quarter) % 2 * (size // 2))
        place(canvas, mask, pixels[which], int(labels[which]) + 1, corner, rng, look)
    return canvas, mask


def background(rng: np.random.Generator, size: int, look: Look = DIGIT_SCENES) -> np.ndarray:
    """Return soft shading plus white noise, float64 (size, size)."""
    shading = enlarge(rng.uniform(-look.shading, look.shading, (1, 4, 4)), size)[0]
    return shading + look.noise * rng.standard_normal((size, size))


def place(
    canvas: np.ndarray,
    mask: np.ndarray,
    digit: np.ndarray,
    label: int,
    corner: tuple[int, int],
    rng: np.random.Generator,
    look: Look = DIGIT_SCENES,
) -> None:
    """Add a digit (8, 8) of random size, place and contrast to the quarter at `corner`; label exactly what it inks."""
    cell = len(canvas) // 2
    height = int(rng.integers(math.ceil(cell * look.smallest), cell + 1))
    top, left = (start + int(rng.integers(0, cell - height + 1)) for start in corner)
    ink = enlarge(digit[None], height)[0]
    inked = ink >= INK_THRESHOLD
    canvas[top : top + height, left : left + height] += inked * ink * (int(rng.integers(look.faintest, 101)) / 100)
    mask[top : top + height, left : left + height][inked] = label
