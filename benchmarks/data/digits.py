"""Handwritten digits: the 1,797 real 8 x 8 images that scikit-learn brings along (Alpaydin and Kaynak, UCI, 1998).

36 images of each digit validate (360) and the other 1,437 train. The split is fixed, whatever the seed of a run, so
that validation figures of different runs are about the same images; or, where intervals are to hold for other images
too, it is drawn for each seed, the same for all runs that share the seed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.data.dataset import Dataset, grey_to, side
from benchmarks.data.trivial import most_frequent_label
from benchmarks.errors import DataError

if TYPE_CHECKING:
    from benchmarks.data.settings import DataSettings

CLASSES = 10
VALIDATION_OF_EACH = 36
SPLIT_SEED = 1998
MEAN = 0.3056
"""Mean of the fixed split's training pixels, black being 0 and full ink 1; checked by a test."""
STD = 0.3765
"""Standard deviation of the training pixels."""


def open_digits(data: DataSettings, *, task: str, seed: int) -> Dataset:
    """Open the digits at data.image_size pixels, (ink - MEAN) / STD; DataError if data.examples asks for too many."""
    train, validation = digit_splits(split_seed(data.split, seed))
    if data.examples is not None and data.examples > len(train[0]):
        raise DataError(
            f"data.examples: digits has {len(train[0])} training examples, not {data.examples};"
            f" lower it to {len(train[0])} or leave it out"
        )
    size, channels = side(data.image_size, 32), data.channels or 1
    pixels, labels = train[0][: data.examples], train[1][: data.examples]
    return Dataset(
        train=DigitSplit(pixels, labels, size, channels),
        validation=DigitSplit(*validation, size, channels),
        classes=CLASSES,
        channels=channels,
        image_size=size,
        trivial=most_frequent_label(labels, validation[1]),
    )


@dataclass(frozen=True)
class DigitSplit:
    """Digits kept at 8 x 8 (ink from 0 to 1) and enlarged as they are read, so that no image size costs memory."""

    pixels: np.ndarray
    labels: np.ndarray
    image_size: int
    channels: int

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int, rng: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray]:
        """Return one digit, (size, size, channels), and its label, (); there is no augmentation."""
        images, labels = self.read_many(np.array([index]))
        return images[0], labels[0]

    def read_many(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return digits, float32 (n, size, size, channels), and their labels, int32 (n,)."""
        ink = enlarge(self.pixels[indices], self.image_size)
        return grey_to((ink - MEAN) / STD, self.channels), self.labels[indices]


def split_seed(split: str, seed: int) -> tuple[int, ...]:
    """Return what a split is drawn from: the same for all runs, or for all of a seed.

    A generator pads its words with zeros, so the 1 keeps seed 0 apart from the fixed split.
    """
    return (SPLIT_SEED, 1, seed) if split == "per_seed" else (SPLIT_SEED,)


@lru_cache(maxsize=4)
def digit_splits(
    drawn_from: tuple[int, ...] = (SPLIT_SEED,),
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return (pixels, labels) of training and validation: float64 (n, 8, 8) from 0 to 1, and int32 (n,)."""
    rows = np.loadtxt(_file(), delimiter=",")
    pixels, labels = rows[:, :-1].reshape(-1, 8, 8) / 16.0, rows[:, -1].astype(np.int32)
    train, validation = split_indices(labels, drawn_from)
    return (pixels[train], labels[train]), (pixels[validation], labels[validation])


def _file() -> Path:
    """Return scikit-learn's file of digits; its own loader imports half of SciPy, a second of every worker's start."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise DataError("data.name: digits come with scikit-learn, which is not installed; run `make setup`")
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"


def split_indices(labels: np.ndarray, drawn_from: Sequence[int] = (SPLIT_SEED,)) -> tuple[np.ndarray, np.ndarray]:
    """Return the training and the validation indices, each shuffled: VALIDATION_OF_EACH of every digit validate."""
    rng = np.random.default_rng(list(drawn_from))
    shuffled = rng.permutation(len(labels))
    picked = [shuffled[labels[shuffled] == digit][:VALIDATION_OF_EACH] for digit in range(CLASSES)]
    validates = np.isin(shuffled, np.concatenate(picked))
    return shuffled[~validates], shuffled[validates]


def enlarge(images: np.ndarray, height: int, width: int | None = None) -> np.ndarray:
    """Resize float64 images (n, h, w) to (n, height, width) bilinearly; a row of weights sums to 1."""
    rows = _bilinear(images.shape[-2], height)
    columns = _bilinear(images.shape[-1], width or height)
    return rows @ images @ columns.T


@lru_cache(maxsize=256)
def _bilinear(source: int, target: int) -> np.ndarray:
    """Return the weights (target, source) of linear interpolation between pixel centres, edges repeated."""
    centres = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    return np.maximum(0.0, 1.0 - np.abs(centres[:, None] - np.arange(source)))
