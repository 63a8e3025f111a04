"""What every source of data looks like from the pipeline's side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from benchmarks.errors import DataError


class BrokenExample(DataError):
    """One example that cannot be read; the message names its file. With `data.broken: skip` it is counted instead."""


class Split(Protocol):
    """Examples that can be read by index, in any order, from any process."""

    def __len__(self) -> int: ...

    def read(self, index: int, rng: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray]:
        """Return (image, target) of one example.

        image: float32 (height, width, channels); target: int32, () or (height, width). `rng` drives random augmentation
        and depends on (seed, epoch, index) alone; None asks for the evaluation transform. BrokenExample names a broken
        file.
        """
        ...


@runtime_checkable
class MemorySplit(Split, Protocol):
    """A split without random augmentation that fills a whole batch at once, in microseconds and without files."""

    def read_many(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return images, float32 (n, height, width, channels), and targets, int32 (n,) or (n, height, width)."""
        ...


@runtime_checkable
class FileSplit(Split, Protocol):
    """A split whose examples are decoded from files: worth processes of their own."""

    @property
    def example_bytes(self) -> int:
        """Bytes of one decoded example, image and target together."""
        ...


@dataclass(frozen=True)
class Dataset:
    """A training and a validation split of examples of one shape.

    `trivial` is the metric of the trivial predictor (objectives/trivial.py); None where it takes the validation's masks
    to tell.
    """

    train: Split
    validation: Split
    classes: int
    channels: int
    image_size: int
    trivial: float | None = None


def side(image_size: int | None, default: int) -> int:
    """Return the side of an image in pixels: the one asked for, or else the source's own."""
    return default if image_size is None else image_size


def grey_to(images: np.ndarray, channels: int) -> np.ndarray:
    """Repeat grey images (n, height, width) into float32 (n, height, width, channels)."""
    out = np.empty((*images.shape, channels), np.float32)
    for channel in range(channels):  # three times as fast as one broadcast assignment
        out[..., channel] = images
    return out
